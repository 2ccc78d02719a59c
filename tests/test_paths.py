"""Values and names as parts of paths."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_experiment import paths
from ml_experiment.placeholders import as_text

VALUES = (
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
    | st.integers()
    | st.floats(allow_nan=False)
    | st.booleans()
)


@given(VALUES, VALUES)
def test_slugs_are_unique(one: Any, other: Any) -> None:
    same = as_text(one) == as_text(other)
    assert (paths.slug(one) == paths.slug(other)) == same


@given(VALUES)
def test_slugs_are_safe(value: Any) -> None:
    slug = paths.slug(value)
    assert slug
    assert slug not in (".", "..")
    assert all(char.isalnum() or char in "._+-%" for char in slug)


def test_some_slugs() -> None:
    assert [paths.slug(value) for value in ("forest", 0.001, True, "", "%", "..", "a/b", 1e-7)] == (
        ["forest", "0.001", "true", "%", "%25", "%2E%2E", "a%2Fb", "1e-07"]
    )


@pytest.mark.parametrize("name", ["a", "a/b", "ckpt/", "Ä.txt", "a b", "-x", "a..b"])
def test_good_file_names(name: str) -> None:
    assert paths.file_problem(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        ".",
        "..",
        "a/..",
        "../a",
        "/a",
        "a//b",
        "./a",
        "a/./b",
        "a//",
        "a\nb",
        "{a}",
        "a" * 201,
    ],
)
def test_bad_file_names(name: str) -> None:
    assert re.search("name", paths.file_problem(name) or "")
