"""Compare the final models with the baselines on the test images, paired by seed.

Two things are uncertain in an accuracy, and each has an interval of its own. Over seeds: had the
models learned from another part of these training images? Over images: had the test set been
another sample of the same kind? Neither covers the other, and neither covers other training
images: the parts that replicates learn from overlap.
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

NAMES = {"svm": "SVM", "forest": "Random forest", "logistic": "Logistic regression"}


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Mean, standard deviation and 95 % t interval; a single value has no spread to speak of."""
    n = len(values)
    mean = float(np.mean(values))
    if n < 2:
        return {"n": n, "mean": mean, "sd": None, "low": None, "high": None}
    sd = float(np.std(values, ddof=1))
    half = float(stats.t.ppf(0.975, n - 1)) * sd / math.sqrt(n)
    return {"n": n, "mean": mean, "sd": sd, "low": mean - half, "high": mean + half}


def sign_flip(differences: Sequence[float]) -> float:
    """Two-sided p of the exact sign-flip permutation test: all 2**n signs, nothing drawn.

    The t test assumes normal differences, which five could not show to be wrong; this one only
    that their signs are exchangeable. Its smallest p is 2 / 2**n, so with five seeds 0.0625:
    whatever the data, it cannot reach 0.05 (nor can Wilcoxon's test). Six seeds can.
    """
    result = stats.permutation_test(
        (np.asarray(differences),),
        np.mean,
        permutation_type="samples",
        n_resamples=2 ** len(differences),
    )
    return float(result.pvalue)


def compare(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Paired differences (ours minus theirs): interval, p of the t test and of the sign flips."""
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    result = summary(differences)
    spread = result["sd"] is not None and result["sd"] > 1e-12
    return {
        **result,
        "differences": differences,
        "t_p": float(stats.ttest_rel(ours, theirs).pvalue) if spread else None,
        "sign_flip_p": sign_flip(differences) if result["n"] > 1 else None,
        "smallest_sign_flip_p": 2.0 ** (1 - result["n"]) if result["n"] > 1 else None,
    }


def confusion(labels: Sequence[int], predicted: Sequence[int]) -> dict[str, Any]:
    """How often each digit (row) was taken for each digit (column)."""
    classes = sorted(set(labels) | set(predicted))
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(counts, (np.searchsorted(classes, labels), np.searchsorted(classes, predicted)), 1)
    return {"classes": [int(c) for c in classes], "counts": counts.tolist()}


def seeds_of(table: pd.DataFrame) -> dict[int, int]:
    """The seed of each replicate."""
    rows = table.drop_duplicates("replicate")
    return {int(r): int(s) for r, s in zip(rows["replicate"], rows["seed"], strict=True)}


def validation(table: pd.DataFrame) -> float:
    """Mean accuracy on the training rows that were held back."""
    return float(table.loc[table["metric"] == "accuracy", "value"].mean())


def evaluate(final: pd.DataFrame, baseline: pd.DataFrame, rows: pd.DataFrame) -> dict[str, Any]:
    """All numbers of the paper. `rows` are predictions; the first method in them is ours."""
    methods = list(dict.fromkeys(rows["method"]))
    tables = {methods[0]: final, **dict(iter(baseline.groupby("method", sort=False)))}
    if set(tables) != set(methods) or any(
        seeds_of(tables[method]) != seeds_of(final) for method in methods
    ):
        raise SystemExit("not paired: methods, replicates and seeds must be the same everywhere")

    rows = rows.assign(correct=(rows["label"] == rows["predicted"]).astype(float))
    by_seed = rows.pivot_table(index="replicate", columns="method", values="correct")
    by_image = rows.pivot_table(index="image", columns="method", values="correct")
    ours, *others = methods
    checked = {method: validation(tables[method]) for method in methods}
    best = max(others, key=lambda method: checked[method])  # chosen without the test images
    own = rows[rows["method"] == ours]
    return {
        "models": [
            {
                "method": method,
                "name": NAMES.get(method, method),
                "validation": checked[method],
                "accuracies": by_seed[method].tolist(),
                **summary(by_seed[method].tolist()),
            }
            for method in methods
        ],
        "comparisons": [
            {
                "method": method,
                "best": method == best,
                "over_seeds": compare(by_seed[ours].tolist(), by_seed[method].tolist()),
                "over_images": summary((by_image[ours] - by_image[method]).tolist()),
            }
            for method in others
        ],
        "confusion": confusion(own["label"].tolist(), own["predicted"].tolist()),
        "seeds": list(seeds_of(final).values()),
        "test_images": len(by_image),
    }


def headline(scores: dict[str, Any]) -> dict[str, float]:
    """The few numbers that a run is followed by."""
    ours = scores["models"][0]
    best = next(row for row in scores["comparisons"] if row["best"])
    values = {
        "accuracy": ours["mean"],
        "accuracy_low": ours["low"],
        "accuracy_high": ours["high"],
        "difference": best["over_seeds"]["mean"],
        "difference_low": best["over_seeds"]["low"],
        "difference_high": best["over_seeds"]["high"],
        "difference_p": best["over_seeds"]["sign_flip_p"],
    }
    return {name: value for name, value in values.items() if value is not None}


def write(path: str, data: dict[str, Any]) -> None:
    """JSON that is the same bytes for the same data; never NaN, which is no JSON."""
    text = json.dumps(data, indent=2, sort_keys=True, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--final", required=True, help="table of the final models' replicates")
    parser.add_argument("--baseline", required=True, help="table of the baselines' replicates")
    parser.add_argument("--scores", required=True, help="JSON file to write, with everything")
    parser.add_argument("--metrics", required=True, help="JSON file to write, with the headline")
    parser.add_argument("predictions", nargs="+", help="predictions, our method's first")
    args = parser.parse_args()

    rows = pd.concat([pd.read_csv(path) for path in args.predictions], ignore_index=True)
    scores = evaluate(pd.read_csv(args.final), pd.read_csv(args.baseline), rows)
    write(args.scores, scores)
    write(args.metrics, headline(scores))


if __name__ == "__main__":
    main()
