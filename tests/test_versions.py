"""What is known of a version, in the registry and back."""

from __future__ import annotations

from ml_experiment import tracked, versions
from ml_experiment.versions import Version

FACTS = {
    "code": {"fit.py": "a" * 32},
    "description": '"quoted", and more',
    "metrics": {"accuracy": 0.5},
    "packages": {"numpy": "2.4.6"},
    "params": {"C": 1.0, "kernel": "rbf"},
    "path": "results/fit/model.pkl",
    "seed": None,
}


def test_tags_and_back() -> None:
    version = Version("digits", "b" * 32, FACTS)
    found = versions.of_tags("digits", 3, ["champion"], versions.tags(version))
    assert found == Version("digits", "b" * 32, FACTS, 3, ("champion",))


def test_what_is_no_version_of_ours() -> None:
    assert versions.of_tags("digits", 1, (), {"other": "tag"}) is None
    aside = {f"{tracked.PREFIX}hash": "../../elsewhere"}  # of whoever may write there
    assert versions.of_tags("digits", 1, (), aside) is None


def test_a_fact_that_is_too_long_is_left_out() -> None:
    long = {**FACTS, "params": {"text": "x" * tracked.MAX_VALUE}}
    found = versions.of_tags("n", 1, (), versions.tags(Version("n", "b" * 32, long)))
    assert found is not None
    assert {*FACTS} - {*found.facts} == {"params"}


def test_differences() -> None:
    other = {**FACTS, "params": {"C": 2.0, "degree": 3}, "seed": 7}
    assert versions.differences(FACTS, other) == {
        "params.C": {"from": 1.0, "to": 2.0},
        "params.degree": {"from": None, "to": 3},
        "params.kernel": {"from": "rbf", "to": None},
        "seed": {"from": None, "to": 7},
    }
