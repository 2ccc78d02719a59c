"""A difference is told only where nothing that was declared explains it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ml_experiment import compare

VALUES = st.floats(allow_nan=True, allow_infinity=True)


def record(**more: Any) -> dict[str, Any]:
    return {
        "boot": [
            {"blas": [{"library": "libopenblas.so", "kernel": "Haswell"}], "platform": {"cpu": "A"}}
        ],
        "environment": {"distributions": {"numpy": "2.1"}, "python": "3.11.7"},
        "inputs": {"data.csv": {"hash": "1"}},
        "job": "fit",
        "key_digest": "k",
        "metrics": {"accuracy": 0.982},
        "outputs": {"model.bin": {"hash": "2"}},
        **more,
    }


def test_metrics_come_before_bytes() -> None:
    now = record(metrics={"accuracy": 0.979}, outputs={"model.bin": {"hash": "3"}})
    told = compare.unexplained(record(), now)
    assert told == "fit: accuracy 0.982 → 0.979, although nothing declared changed"


def test_bytes_count_where_there_is_no_metric() -> None:
    told = compare.unexplained(record(), record(outputs={"model.bin": {"hash": "3"}}))
    assert told == "fit: model.bin has other bytes, although nothing declared changed"


def test_what_was_declared_explains_everything() -> None:
    other = {"metrics": {"accuracy": 0.5}}
    assert compare.unexplained(record(), record(key_digest="other", **other)) is None
    assert (
        compare.unexplained(record(), record(inputs={"data.csv": {"hash": "9"}}, **other)) is None
    )


def test_what_is_not_declared_is_named() -> None:
    now = record(
        metrics={"accuracy": 0.979},
        environment={"distributions": {"numpy": "2.2"}, "python": "3.11.7"},
        boot=[{"blas": [{"library": "libopenblas.so", "kernel": "Zen"}], "platform": {"cpu": "A"}}],
    )
    told = compare.unexplained(record(), now)
    assert told is not None
    assert "numpy 2.1 → 2.2" in told
    assert "the kernel of libopenblas.so Haswell → Zen" in told
    assert "CPU" not in told


def test_a_rule_without_a_key_is_declared_by_its_command_and_code() -> None:
    before = record(key_digest=None, command="x", code={})
    changed = {"metrics": {"accuracy": 0.5}}
    assert compare.unexplained(before, {**before, **changed})
    assert compare.unexplained(before, {**before, **changed, "command": "y"}) is None
    assert compare.unexplained(before, {**before, **changed, "code": {"rule": "2"}}) is None


def test_what_was_temporary_is_no_difference() -> None:
    gone = record(outputs={"model.bin": {"hash": None, "reason": "temporary"}})
    assert compare.unexplained(record(), gone) is None
    assert compare.unexplained(gone, record()) is None


@given(st.dictionaries(st.text(), VALUES), st.dictionaries(st.text(), VALUES))
def test_equal_metrics_are_no_difference_and_others_are(
    one: dict[str, float], other: dict[str, float]
) -> None:
    assert compare.unexplained(record(metrics=one), record(metrics=dict(one))) is None
    same = repr(sorted(one.items())) == repr(sorted(other.items()))
    told = compare.unexplained(record(metrics=one), record(metrics=other))
    assert (told is None) == same
