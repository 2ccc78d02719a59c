"""Train a small convolutional network on digits; go on from a checkpoint where there is one."""

import argparse
import contextlib
import os
from pathlib import Path

import torch
from dvclive import Live
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

import ml_experiment


def network():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(32 * 4 * 4, 10),
    )


def load_images():
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    return images, torch.tensor(digits.target)


def save(path, content):
    """Write a checkpoint whole or not at all: a job may be killed while it writes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def train_epoch(model, optimizer, images, labels, batch_size):
    model.train()
    total = 0.0
    for batch in torch.randperm(len(images)).split(batch_size):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
    return total / len(images)


def open_log(folder):
    """DVCLive, writing to this folder only: of a git repository it would make one of DVC's."""
    folder = folder.resolve()
    with contextlib.chdir("/"):
        return Live(str(folder), save_dvc_exp=False, dvcyaml=None)


def log_epoch(live, values):
    for name, value in values.items():
        live.log_metric(name, value)
    live.next_step()


@torch.no_grad()
def accuracy(model, images, labels):
    model.eval()
    return (model(images).argmax(1) == labels).float().mean().item()


def train(epochs, learning_rate, batch_size, checkpoint, live):
    """The trained model. Each epoch begins with all that it depends on saved.

    The curve is saved with it and logged again from there: it has each epoch once, wherever the
    training was interrupted.
    """
    images, labels = load_images()
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    order = torch.randperm(len(images))  # the last quarter is for testing
    curve = []
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        order = state["order"]
        curve = state["curve"]
        torch.set_rng_state(state["generator"])
        print(f"going on after epoch {len(curve)}")
        for values in curve:
            log_epoch(live, values)

    learn, test = order.tensor_split([len(order) * 3 // 4])
    while len(curve) < epochs:
        loss = train_epoch(model, optimizer, images[learn], labels[learn], batch_size)
        tested = accuracy(model, images[test], labels[test])
        curve.append({"train/loss": loss, "test/accuracy": tested})
        state = {
            "curve": curve,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "order": order,
            "generator": torch.get_rng_state(),
        }
        save(checkpoint, state)
        log_epoch(live, curve[-1])
        ml_experiment.report(len(curve), tested)  # a trial of a study may end here
        print(f"epoch {len(curve)}: loss {loss:.4f}", flush=True)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=0.002)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"))
    parser.add_argument("--model", default="model.pt")
    parser.add_argument("--live", type=Path, default=Path("live"))
    args = parser.parse_args()

    checkpoint = args.checkpoints / "last.pt"
    with open_log(args.live) as live:
        model = train(args.epochs, args.learning_rate, args.batch_size, checkpoint, live)
    torch.save(model.state_dict(), args.model)


if __name__ == "__main__":
    main()
