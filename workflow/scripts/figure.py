"""The figure of the paper: accuracy of every method under every seed, and what is confused."""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

OURS, LIGHT, THEIRS = "#0072B2", "#56B4E9", "#4D4D4D"  # blues of Okabe and Ito, and a grey
STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 0,
    "svg.hashsalt": "digits",  # element names would differ at every run
}


def stacked(values: np.ndarray, step: float) -> np.ndarray:
    """How far to move each point so that equal values stand side by side: 0, step, 2 step, ..."""
    return np.array([step * np.sum(values[:i] == value) for i, value in enumerate(values)])


def draw_interval(ax: Axes, row: float, values: dict[str, Any], **style: Any) -> None:
    """A 95 % interval in percent; nothing where there is none."""
    if values["low"] is not None:
        ends = [100 * values["low"], 100 * values["high"]]
        ax.plot(ends, [row, row], solid_capstyle="butt", **style)


def name_rows(ax: Axes, names: list[str]) -> None:
    """A row for each name, the first on top, without an axis line."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.spines["left"].set_visible(False)


def draw_accuracies(ax: Axes, models: list[dict[str, Any]]) -> None:
    """A row per method: mean and interval, and every seed below them."""
    for row, model in enumerate(models):
        colour = OURS if row == 0 else THEIRS
        seeds = 100 * np.array(model["accuracies"])
        ax.plot(seeds, row + 0.24 + stacked(seeds, 0.1), "o", markersize=2.2, color=colour)
        draw_interval(ax, row, model, color=colour, linewidth=1.8)
        mean = 100 * model["mean"]
        ax.plot(mean, row, "o", markersize=5, color=colour)
        ax.annotate(
            f"{mean:.1f}",
            (mean, row),
            (0, 5),
            textcoords="offset points",
            ha="center",
            color=colour,
        )
    name_rows(ax, [model["name"] for model in models])
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.set_xlabel("Test accuracy (%)")


def draw_differences(ax: Axes, comparisons: list[dict[str, Any]], names: dict[str, str]) -> None:
    """A row per baseline: the paired difference, its interval over seeds and over images."""
    ax.axvline(0, color="black", linewidth=0.6)
    for row, compared in enumerate(comparisons):
        seeds, images = compared["over_seeds"], compared["over_images"]
        draw_interval(ax, row + 0.22, images, color=LIGHT, linewidth=1.2)
        draw_interval(ax, row, seeds, color=OURS, linewidth=1.8)
        ax.plot(100 * seeds["mean"], row, "o", markersize=5, color=OURS)
        ax.annotate(
            f"{100 * seeds['mean']:+.1f}".replace("-", "\N{MINUS SIGN}"), (100 * seeds["mean"], row),
            (0, 5), textcoords="offset points", ha="center", color=OURS,
        )  # fmt: skip
    for kind, height, text in (("over_seeds", 0, "seeds"), ("over_images", 0.22, "images")):
        high = comparisons[0][kind]["high"]
        if high is not None:
            ax.annotate(text, (100 * high, height), (3, 0), textcoords="offset points", va="center",
                        fontsize=6, color=THEIRS)  # fmt: skip
    name_rows(ax, [f"over {names[compared['method']].lower()}" for compared in comparisons])
    ax.set_xlabel("Difference (percentage points)")


def shares(counts: list[list[int]]) -> np.ndarray:
    """Each row of a confusion matrix in percent of the row."""
    table = np.asarray(counts, dtype=float)
    total = table.sum(axis=1, keepdims=True)
    return np.asarray(100 * np.divide(table, total, out=np.zeros_like(table), where=total > 0))


def draw_confusion(ax: Axes, confusion: dict[str, Any]) -> None:
    """Percent of each true digit; the diagonal without colour, so that the mistakes are seen."""
    percent = shares(confusion["counts"])
    right = np.eye(len(percent), dtype=bool)
    mistakes = np.ma.masked_where(right | (percent == 0), percent)
    ax.imshow(mistakes, cmap="Oranges", vmin=0, vmax=max(10, percent[~right].max()))
    for (row, column), value in np.ndenumerate(percent):
        if value > 0:
            text = f"{value:.0f}" if value >= 99.95 else f"{value:.1f}"
            colour = THEIRS if row == column else "black"
            ax.text(column, row, text, ha="center", va="center", fontsize=6, color=colour)
    labels = [str(name) for name in confusion["classes"]]
    ax.set_xticks(range(len(labels)), labels)
    ax.set_yticks(range(len(labels)), labels)
    ax.tick_params(length=0)
    grid = np.arange(len(labels) + 1) - 0.5
    ax.hlines(grid, -0.5, len(labels) - 0.5, color="#E6E6E6", linewidth=0.4)
    ax.vlines(grid, -0.5, len(labels) - 0.5, color="#E6E6E6", linewidth=0.4)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("Predicted digit")
    ax.set_ylabel("True digit")


def draw(scores: dict[str, Any]) -> Figure:
    """Three panels across a page of 18 cm."""
    models, comparisons = scores["models"], scores["comparisons"]
    figure = Figure(figsize=(7.0, 3.3), layout="constrained")
    panels = figure.subplot_mosaic(
        [["a", "c"], ["b", "c"]],
        width_ratios=[1.15, 1],
        height_ratios=[len(models) + 0.2, len(comparisons) + 0.2],
    )
    draw_accuracies(panels["a"], models)
    draw_differences(panels["b"], comparisons, {row["method"]: row["name"] for row in models})
    draw_confusion(panels["c"], scores["confusion"])
    panels["c"].set_anchor("N")
    ours = models[0]["name"]
    for panel, title in {
        "a": "Accuracy",
        "b": f"Advantage of the {ours}",
        "c": f"{ours}: percent of each true digit",
    }.items():
        panels[panel].set_title(f"{panel}   {title}", loc="left", fontweight="bold")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scores", help="JSON file with all numbers, from evaluate.py")
    parser.add_argument("figures", nargs="+", help="files to write, such as figure.svg figure.png")
    args = parser.parse_args()

    scores = json.loads(Path(args.scores).read_text(encoding="utf-8"))
    with mpl.rc_context(STYLE):
        figure = draw(scores)
        for path in args.figures:
            # Without the time and matplotlib's version: equal numbers give equal bytes.
            unwanted = {".svg": {"Date": None, "Creator": None}, ".png": {"Software": None}}
            figure.savefig(path, dpi=300, metadata=unwanted.get(Path(path).suffix))


if __name__ == "__main__":
    main()
