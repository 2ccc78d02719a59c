"""What the demonstration's scripts promise of themselves: paired rows, equal bytes, resuming."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml_experiment import metrics

ROOT = Path(__file__).parents[2]


@pytest.fixture
def train_table(tmp_path: Path) -> str:
    path = tmp_path / "train.parquet"
    pixels = {f"pixel_{i}": [float(row * i % 17) for row in range(60)] for i in range(4)}
    labels = [row % 3 for row in range(60)]
    pd.DataFrame({"image": range(60), "label": labels, **pixels}).to_parquet(path)
    return str(path)


def test_equal_seeds_give_all_methods_the_same_rows(script: Any, train_table: str) -> None:
    data: ModuleType = script("data")
    parts = []
    for seed in (1, 1, 2):
        np.random.seed(seed)
        parts.append(data.learning_split(train_table, 0.75))
    (learn, check), (again, _), (other, _) = parts
    assert (len(learn[1]), len(check[1])) == (45, 15)
    assert np.array_equal(learn[0], again[0])
    assert not np.array_equal(learn[0], other[0])
    assert np.bincount(learn[1]).tolist() == [15, 15, 15]


def test_shares_are_of_each_row(script: Any) -> None:
    figure: ModuleType = script("figure")
    assert figure.shares([[3, 1], [0, 0]]).tolist() == [[75.0, 25.0], [0.0, 0.0]]
    assert figure.stacked(np.array([2.0, 1.0, 2.0, 2.0]), 0.5).tolist() == [0, 0, 0.5, 1.0]


@pytest.mark.engine("torch")
def test_torch_ends_the_same_after_an_interruption(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    example: ModuleType = script(ROOT / "examples/torch/train.py")

    def run(epochs: int, folder: str, seed: int) -> tuple[Any, metrics.Metrics]:
        torch.manual_seed(seed)
        log, checkpoint = tmp_path / folder / "live", tmp_path / folder / "last.pt"
        with example.open_log(log) as live:
            model = example.train(epochs, 0.002, 512, checkpoint, live)
        return model.state_dict(), metrics.read(log)

    whole, values = run(3, "whole", seed=1)
    run(2, "parts", seed=1)
    resumed, same = run(3, "parts", seed=2)  # what was drawn before the interruption is kept
    assert "going on after epoch 2" in capsys.readouterr().out
    assert same == values
    assert [point.step for point in same.curves["train/loss"]] == [0, 1, 2]
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not list(tmp_path.rglob("*.part"))
