"""Overrides survive the way through Snakemake's own reading of --config."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snakemake.cli import parse_config

from ml_experiment import overrides

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
)
NAMES = st.text("abcdef", min_size=2, max_size=5)
NESTED = st.dictionaries(
    NAMES,
    st.recursive(SCALARS, lambda c: st.lists(c) | st.dictionaries(NAMES, c), max_leaves=8),
    min_size=1,
)


@given(NESTED)
def test_nested_overrides_survive_snakemake(value: dict[str, object]) -> None:
    words = overrides.to_words({"steps": value})
    assert overrides.from_config(parse_config(words)) == {"steps": value}


@pytest.mark.parametrize("value", [7, 0.5, True, "smoke"])
def test_plain_overrides_survive_snakemake(value: object) -> None:
    words = overrides.to_words({"seed": value})
    assert overrides.from_config(parse_config(words)) == {"seed": value}
