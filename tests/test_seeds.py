"""Seeds are documented numbers: a change of any of these is a change of every result."""

from __future__ import annotations

import hashlib
import json

from hypothesis import given
from hypothesis import strategies as st

from ml_experiment import seeds

GOLDEN = (433938326, 1268154973, 388712713, 965773114, 206418906)


def test_golden_numbers() -> None:
    assert seeds.derive(0, "fit", 0) == GOLDEN[0]
    assert seeds.derive(20261123, "training", 4) == GOLDEN[1]
    assert seeds.derive(20261123, "training", 4, "numpy") == GOLDEN[2]
    assert seeds.derive(2**31 - 1, "é-\U0001f600", 10) == GOLDEN[3]
    assert seeds.hash_seed(20261123) == GOLDEN[4]


@given(st.integers(0, 2**31 - 1), st.text(), st.integers(0, 10**6), st.text())
def test_the_formula_of_the_docstring(root: int, stream: str, replicate: int, name: str) -> None:
    text = json.dumps([root, stream, replicate, name], separators=(",", ":"), ensure_ascii=True)
    digest = hashlib.sha256(text.encode("ascii")).digest()
    expected = int.from_bytes(digest[:4], "big") % 2**31
    assert seeds.derive(root, stream, replicate, name) == expected
    assert 0 <= expected <= 2**31 - 1


def test_every_part_counts() -> None:
    base = (1, "fit", 0, "seed")
    others = [
        (2, "fit", 0, "seed"),
        (1, "fi", 0, "seed"),
        (1, "fit", 1, "seed"),
        (1, "fit", 0, "r"),
    ]
    assert len({seeds.derive(*parts) for parts in [base, *others]}) == 5
