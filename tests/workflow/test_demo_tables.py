"""The tables of the demonstration: what they say, and that nothing in a cell breaks them."""

from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def tables(script: Any) -> ModuleType:
    module: ModuleType = script("tables")
    return module


def spread(mean: float, half: float | None) -> dict[str, float | None]:
    if half is None:
        return {"mean": mean, "sd": None, "low": None, "high": None}
    return {"mean": mean, "sd": half / 2, "low": mean - half, "high": mean + half}


def scores(name: str = "SVM", half: float | None = 0.002, p: float | None = 0.0625) -> Any:
    differs = {**spread(-0.01, half), "sign_flip_p": p, "smallest_sign_flip_p": p}
    return {
        "models": [
            {"method": "svm", "name": name, "validation": 0.98, **spread(0.99, half)},
            {"method": "rf", "name": "Random forest", "validation": 0.97, **spread(1.0, half)},
        ],
        "comparisons": [
            {"method": "rf", "best": True, "over_seeds": differs, "over_images": differs}
        ],
        "seeds": [1, 2, 3, 4, 5],
        "test_images": 450,
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b & 50 % #1", r"a\_b \& 50 \% \#1"),
        ("{x}^2~$\\", r"\{x\}\textasciicircum{}2\textasciitilde{}\$\textbackslash{}"),
        ("\N{MINUS SIGN}1 \N{EN DASH}", "$-$1 --"),
    ],
)
def test_latex_is_escaped(tables: ModuleType, text: str, expected: str) -> None:
    assert tables.escape_latex(text) == expected


def test_markdown_is_escaped(tables: ModuleType) -> None:
    assert tables.escape_markdown("a|b *c* <d> [e]") == r"a\|b \*c\* \<d\> \[e\]"


def test_markdown_has_a_cell_for_each_column(tables: ModuleType) -> None:
    lines = tables.markdown(scores(name="a|b")).splitlines()[:4]
    counts = {line.replace("\\|", "").count("|") for line in lines}
    assert counts == {len(tables.HEADER) + 1}


def test_latex_has_a_cell_for_each_column(tables: ModuleType) -> None:
    lines = [line for line in tables.latex(scores(name="a & b")).splitlines() if line[-2:] == r"\\"]
    assert len(lines) == 3
    assert {line.replace(r"\&", "").count("&") for line in lines} == {len(tables.HEADER) - 1}


def test_numbers_are_percent_with_signs(tables: ModuleType) -> None:
    ours, other = tables.rows(scores())
    dash, minus = tables.DASH, tables.MINUS
    assert ours == ("SVM", "98.00", "99.00 [98.80, 99.20]", "0.10", dash, dash, dash)
    assert other[0] == "Random forest (best baseline)"
    assert other[4] == f"{minus}1.00 [{minus}1.20, {minus}0.80]"
    assert other[-1] == "0.0625"


def test_the_note_says_what_the_seeds_cannot_show(tables: ModuleType) -> None:
    assert "with 5 seeds it cannot be below 0.0625" in tables.note(scores())


def test_one_seed_is_a_table_as_well(tables: ModuleType) -> None:
    single = scores(half=None, p=None)
    ours, other = tables.rows(single)
    assert ours[2:4] == ("99.00", tables.DASH)
    assert other[4] == f"{tables.MINUS}1.00"
    assert "no interval" in tables.note(single)
