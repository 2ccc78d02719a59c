"""Whatever is proposed, every reader gets the same data from its text."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_experiment import yamlio
from ml_experiment.infer.render import render_step, scalar
from ml_experiment.infer.step import Proposal

# What `yamlio` refuses is left out of proposals: see test_step.py.
TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters=["\0"]), max_size=30),
    st.sampled_from(
        [
            "no",
            "yes",
            "On",
            "y",
            "~",
            "null",
            "1e3",
            "0o17",
            "017",
            "0x1F",
            "1_000",
            "1:30",
            "2026-01-02",
            ".5",
            ".inf",
            ".nan",
            "-",
            "=",
            "<<",
            "a:b",
            "#a",
            "{x}",
            "[x]",
            "*a",
            "&a",
            "!a",
            "|-",
            ">-",
            "%a",
            "@a",
            "`a",
            "...",
            "---",
            "-1",
            "+1",
            "1.",
            "0b1",
        ]
    ),
    st.sampled_from(
        ["", " a", "a ", "a: b", "a #b", "a\nb", "\ufeff", "\x85", "a\u2028b", "? a", "'"]
    ),
)
LARGEST = 10 ** (yamlio.MAX_DIGITS - 1) - 1
INTEGER = st.one_of(st.integers(), st.sampled_from([LARGEST, -LARGEST]))
LEAF = st.one_of(st.none(), st.booleans(), INTEGER, st.floats(allow_nan=False), TEXT)
VALUE = st.one_of(LEAF, st.lists(LEAF, max_size=4))
COMMAND = st.one_of(
    TEXT.filter(bool),
    st.lists(
        st.sampled_from(["--lr", "{params.lr}", "a'b c'", "#", "x:"]), min_size=1, max_size=40
    ).map(" ".join),
)


def listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: listed(item) for key, item in value.items()}
    return [listed(item) for item in value] if isinstance(value, tuple) else value


@settings(max_examples=300, deadline=None)
@given(
    run=COMMAND,
    inputs=st.dictionaries(
        TEXT, st.one_of(TEXT, st.lists(TEXT, min_size=1, max_size=3)), max_size=3
    ),
    outputs=st.dictionaries(TEXT, TEXT, max_size=2),
    params=st.dictionaries(TEXT, VALUE, max_size=4),
    metrics=st.one_of(st.none(), TEXT),
    indent=st.integers(0, 6),
    unit=st.integers(1, 5),
)
def test_text_and_back(
    run: str,
    inputs: dict[str, Any],
    outputs: dict[str, str],
    params: dict[str, Any],
    metrics: str | None,
    indent: int,
    unit: int,
) -> None:
    proposal = Proposal("fit", run, inputs, outputs, params, metrics)
    text = render_step(proposal, indent, unit)
    wanted = {"fit": proposal.data}
    both = listed(yamlio.read(text, "a.yaml").plain()), yaml.safe_load(text)
    for found in both:
        assert found == wanted
        assert repr(found) == repr(wanted)  # 1 is not True, nor 1.0
    assert all(line.isprintable() for line in text.split("\n"))


def test_shape() -> None:
    run = (
        "python train.py --learning-rate {params.lr} --epochs {params.epochs} --out {outputs.model}"
    )
    params = {"lr": 1e-05, "kind": "no", "n": "12", "sizes": [1, 2]}
    proposal = Proposal(
        "fit", run, {"data": "data/x.csv"}, {"model": "m.pt"}, params, "metrics.json"
    )
    assert (
        render_step(proposal, 2)
        == """\
  fit:
    run: >-
      python train.py --learning-rate {params.lr} --epochs {params.epochs}
      --out {outputs.model}
    inputs:
      data: data/x.csv
    outputs:
      model: m.pt
    params:
      lr: 1.0e-05
      kind: 'no'
      'n': '12'
      sizes: [1, 2]
    metrics: metrics.json
"""
    )


@pytest.mark.parametrize("text", ["scale", "data/x.csv", "./x.csv", "../a/b", "two words", "a.b-c"])
def test_plain_where_it_can_be(text: str) -> None:
    assert scalar(text) == text
