"""The results as a table in Markdown and in LaTeX (booktabs)."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HEADER = (
    "Method",
    "Validation (%)",
    "Test (%)",
    "sd",
    "Difference over seeds",
    "over images",
    "p",
)
DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
_LATEX = {
    DASH: "--",
    MINUS: "$-$",
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{char: "\\" + char for char in "&%$#_{}"},
}


def escape_markdown(text: str) -> str:
    """Text as it is: nothing in it is emphasis, a tag or the end of a cell."""
    return "".join("\\" + char if char in "\\`*_[]<>|" else char for char in text)


def escape_latex(text: str) -> str:
    """Text as it is; a true minus needs math mode."""
    return "".join(_LATEX.get(char, char) for char in text)


def percent(value: float | None, digits: int = 2) -> str:
    """A share in percent; a dash for what there is not."""
    return DASH if value is None else f"{100 * value:.{digits}f}"


def points(row: dict[str, Any]) -> str:
    """A difference in percentage points with its sign, and its interval."""

    def signed(value: float) -> str:
        return f"{100 * value:+.2f}".replace("-", MINUS)

    if row["low"] is None:
        return signed(row["mean"])
    return f"{signed(row['mean'])} [{signed(row['low'])}, {signed(row['high'])}]"


def interval(row: dict[str, Any]) -> str:
    """A mean in percent and its interval."""
    if row["low"] is None:
        return percent(row["mean"])
    return f"{percent(row['mean'])} [{percent(row['low'])}, {percent(row['high'])}]"


def rows(scores: dict[str, Any]) -> list[tuple[str, ...]]:
    """A row per method: ours, then what it is compared with."""
    compared = {row["method"]: row for row in scores["comparisons"]}
    result: list[tuple[str, ...]] = []
    for model in scores["models"]:
        against = compared.get(model["method"])
        p = against["over_seeds"]["sign_flip_p"] if against else None
        result.append(
            (
                model["name"] + (" (best baseline)" if against and against["best"] else ""),
                percent(model["validation"]),
                interval(model),
                percent(model["sd"]),
                points(against["over_seeds"]) if against else DASH,
                points(against["over_images"]) if against else DASH,
                DASH if p is None else f"{p:.4g}",
            )
        )
    return result


def note(scores: dict[str, Any]) -> str:
    """What the numbers are, and what so few seeds cannot show."""
    n, images = len(scores["seeds"]), scores["test_images"]
    name = scores["models"][0]["name"]
    text = (
        f"Mean over {n} seeds on {images} test images, with 95 % t intervals. Differences are "
        f"{name} minus the method, in percentage points, paired by seed or by image: the first "
        "interval covers which of the training images were learned from and the learning itself, "
        "the second the choice of test images. The best baseline was chosen on validation images. "
    )
    smallest = scores["comparisons"][0]["over_seeds"]["smallest_sign_flip_p"]
    if smallest is None:
        return text + "One seed has no interval and no p."
    return text + (
        "p: exact sign-flip permutation test over seeds, two-sided, not corrected for several "
        f"methods; with {n} seeds it cannot be below {smallest:.4g}."
    )


def markdown(scores: dict[str, Any]) -> str:
    lines = [HEADER, ("---",) + ("---:",) * (len(HEADER) - 1)]
    cells = [tuple(escape_markdown(cell) for cell in row) for row in rows(scores)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in (*lines, *cells))
    return f"{table}\n\n{escape_markdown(note(scores))}\n"


def latex(scores: dict[str, Any]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "  " + " & ".join(escape_latex(cell) for cell in cells) + r" \\"

    return "\n".join(
        [
            r"\begin{tabular}{l" + "r" * (len(HEADER) - 1) + "}",
            r"  \toprule",
            line(HEADER),
            r"  \midrule",
            *(line(row) for row in rows(scores)),
            r"  \bottomrule",
            r"\end{tabular}",
            r"\par\smallskip\footnotesize " + escape_latex(note(scores)),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scores", help="JSON file with all numbers, from evaluate.py")
    parser.add_argument("markdown", help="file to write")
    parser.add_argument("latex", help="file to write, for \\input")
    args = parser.parse_args()

    scores = json.loads(Path(args.scores).read_text(encoding="utf-8"))
    Path(args.markdown).write_text(markdown(scores), encoding="utf-8")
    Path(args.latex).write_text(latex(scores), encoding="utf-8")


if __name__ == "__main__":
    main()
