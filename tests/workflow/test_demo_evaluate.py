"""The statistics of the demonstration, against scipy and by hand."""

import itertools
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

OURS = [0.99, 0.985, 0.992, 0.988, 0.991]
THEIRS = [0.97, 0.975, 0.981, 0.98, 0.969]


@pytest.fixture
def evaluate(script: Any) -> ModuleType:
    module: ModuleType = script("evaluate")
    return module


def test_an_interval_is_scipys(evaluate: ModuleType) -> None:
    found = evaluate.summary(OURS)
    expected = stats.ttest_1samp(OURS, 0).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
    assert found["sd"] == pytest.approx(np.std(OURS, ddof=1))
    assert found["n"] == 5


def test_a_single_seed_has_no_interval(evaluate: ModuleType) -> None:
    expected = {"n": 1, "mean": 0.9, "sd": None, "low": None, "high": None}
    assert evaluate.summary([0.9]) == expected


def test_a_paired_comparison_is_scipys(evaluate: ModuleType) -> None:
    found = evaluate.compare(OURS, THEIRS)
    expected = stats.ttest_rel(OURS, THEIRS)
    interval = expected.confidence_interval(0.95)
    assert found["t_p"] == pytest.approx(expected.pvalue)
    assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high))
    # Without ties Wilcoxon's exact test has the same smallest p: here every sign is the same.
    assert found["sign_flip_p"] == pytest.approx(stats.wilcoxon(OURS, THEIRS).pvalue)
    assert found["sign_flip_p"] == found["smallest_sign_flip_p"] == 0.0625


@pytest.mark.parametrize("values", [[3.0, -1.0, 2.0, 0.5, 1.0], [1.0, 1.0, -1.0, 1.0], [0.0, 2.0]])
def test_sign_flips_are_all_of_them(evaluate: ModuleType, values: list[float]) -> None:
    flips = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(values))
    ]
    expected = sum(flip >= abs(sum(values)) for flip in flips) / len(flips)
    assert evaluate.sign_flip(values) == pytest.approx(expected)


def test_equal_methods_differ_by_nothing(evaluate: ModuleType) -> None:
    found = evaluate.compare(OURS, OURS)
    assert found["mean"] == 0
    assert found["t_p"] is None
    assert found["sign_flip_p"] == 1


def test_one_seed_compares_without_p(evaluate: ModuleType) -> None:
    found = evaluate.compare([0.9], [0.8])
    assert found["mean"] == pytest.approx(0.1)
    assert found["sign_flip_p"] is None
    assert found["smallest_sign_flip_p"] is None


def test_confusion_counts_true_by_predicted(evaluate: ModuleType) -> None:
    found = evaluate.confusion([0, 0, 1, 3], [0, 1, 1, 0])
    assert found == {"classes": [0, 1, 3], "counts": [[1, 1, 0], [0, 1, 0], [1, 0, 0]]}


def table(values: dict[int, float], seed: int = 100, **axis: str) -> Any:
    return pd.DataFrame(
        [
            {**axis, "replicate": r, "seed": seed + r, "metric": "accuracy", "value": value}
            for r, value in values.items()
        ]
    )


def predictions(method: str, wrong: dict[int, set[int]]) -> Any:
    """Ten images of two digits; in each replicate some are taken for the other digit."""
    return pd.DataFrame(
        [
            {
                "method": method,
                "replicate": replicate,
                "image": image,
                "label": image % 2,
                "predicted": image % 2 if image not in images else 1 - image % 2,
            }
            for replicate, images in wrong.items()
            for image in range(10)
        ]
    )


@pytest.fixture
def parts() -> tuple[Any, Any, Any]:
    final = table({0: 0.95, 1: 0.97})
    baseline = pd.concat(
        [
            table({0: 0.8, 1: 0.9}, method="forest"),
            table({0: 0.9, 1: 0.9}, method="logistic"),
        ]
    )
    rows = pd.concat(
        [
            predictions("svm", {0: {0}, 1: set()}),
            predictions("forest", {0: {0, 1}, 1: {2}}),
            predictions("logistic", {0: {0, 1, 2}, 1: {3, 4}}),
        ]
    )
    return final, baseline, rows


def test_evaluation_pairs_by_seed_and_by_image(
    evaluate: ModuleType, parts: tuple[Any, Any, Any]
) -> None:
    scores = evaluate.evaluate(*parts)
    assert [model["name"] for model in scores["models"]] == [
        "SVM",
        "Random forest",
        "Logistic regression",
    ]
    assert scores["models"][0]["accuracies"] == [0.9, 1.0]
    assert scores["models"][0]["validation"] == pytest.approx(0.96)
    forest, logistic = scores["comparisons"]
    assert forest["over_seeds"]["differences"] == pytest.approx([0.1, 0.1])
    assert forest["over_images"]["n"] == scores["test_images"] == 10
    assert forest["over_images"]["mean"] == pytest.approx(0.1)
    assert (forest["best"], logistic["best"]) == (False, True)  # by validation, not by test
    assert scores["confusion"]["counts"] == [[9, 1], [0, 10]]
    assert scores["seeds"] == [100, 101]


def test_headline_compares_with_the_best_baseline(
    evaluate: ModuleType, parts: tuple[Any, Any, Any]
) -> None:
    found = evaluate.headline(evaluate.evaluate(*parts))
    assert found["accuracy"] == pytest.approx(0.95)
    assert found["difference"] == pytest.approx(0.2)
    assert all(isinstance(value, float) for value in found.values())


def test_other_seeds_are_refused(evaluate: ModuleType, parts: tuple[Any, Any, Any]) -> None:
    _, baseline, rows = parts
    with pytest.raises(SystemExit, match="not paired"):
        evaluate.evaluate(table({0: 0.95, 1: 0.97}, seed=7), baseline, rows)


def test_json_is_the_same_bytes(evaluate: ModuleType, tmp_path: Path) -> None:
    evaluate.write(str(tmp_path / "a"), {"b": 0.1 + 0.2, "a": None})
    evaluate.write(str(tmp_path / "b"), {"a": None, "b": 0.1 + 0.2})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert json.loads((tmp_path / "a").read_text()) == {"a": None, "b": 0.1 + 0.2}
    with pytest.raises(ValueError, match="JSON"):
        evaluate.write(str(tmp_path / "c"), {"a": float("nan")})
