"""Train a neural network on digits, with shifted images to make new ones of a few."""

import argparse
import json
import random

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier


def shifted(images):
    """Each image moved by at most one pixel."""
    moved = [
        np.roll(image, (random.randint(-1, 1), random.randint(-1, 1)), axis=(0, 1))
        for image in images
    ]
    return np.array(moved).reshape(len(images), -1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--learning-rate", type=float, default=0.003)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--model", default="model.joblib")
    parser.add_argument("--metrics", default="metrics.json")
    args = parser.parse_args()

    digits = load_digits()
    images, test_images, labels, test_labels = train_test_split(
        digits.images / 16, digits.target, test_size=0.25, stratify=digits.target
    )
    model = MLPClassifier(args.hidden, learning_rate_init=args.learning_rate, batch_size=32)
    order = np.arange(len(images))
    for epoch in range(args.epochs):
        np.random.shuffle(order)
        model.partial_fit(shifted(images[order]), labels[order], classes=np.arange(10))
        accuracy = model.score(test_images.reshape(len(test_images), -1), test_labels)
        print(f"epoch {epoch + 1}: accuracy {accuracy:.4f}")

    joblib.dump(model, args.model)
    with open(args.metrics, "w") as file:
        json.dump({"accuracy": accuracy}, file)


if __name__ == "__main__":
    main()
