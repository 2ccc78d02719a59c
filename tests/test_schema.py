"""The published schema is the model's, and says what the loader says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ml_experiment import schema, yamlio

ROOT = Path(__file__).parent.parent
STEP = {"run": "x", "metrics": "m.json"}


def as_lists(value: Any) -> Any:
    if isinstance(value, tuple):
        return [as_lists(item) for item in value]
    return {k: as_lists(v) for k, v in value.items()} if isinstance(value, dict) else value


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(schema.build())
    return jsonschema.Draft202012Validator(schema.build())


def test_it_is_current() -> None:
    assert (ROOT / "schemas" / "experiment.schema.json").read_text() == schema.text(), "make schema"


def test_it_takes_the_experiment_of_this_repository(
    validator: jsonschema.Draft202012Validator,
) -> None:
    text = (ROOT / "experiment.yaml").read_text()
    validator.validate(as_lists(yamlio.read(text, "x").plain()))
    validator.validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    "data",
    [
        {"name": "x"},
        {"extends": "base.yaml", "steps": {"a": {"threads": 2}}},
        {"name": "x", "steps": {"a": STEP, "b": {"like": "a", "params": {"C": None}, "inputs": {"x": None}, "replicates": None}}},
        {"name": "x", "steps": {"a": {**STEP, "matrix": {"m": [1, "a", True], "include": [{"m": 2, "e": 1.5}]}}}},
        {"name": "x", "steps": {"a": {"metrics": "m", "matrix": ["m"], "cases": {"m": {"1": {"run": "x"}}}}}},
        {"name": "x", "steps": {"a": {**STEP, "replicates": {"seeds": [0, 3]}, "timeout": "2h", "gpus": 0.5}}},
        {"name": "x", "params": {"a": {"deep": [1, {}]}}, "variants": {"s": {"steps.a.threads": 2}}},
    ],
)  # fmt: skip
def test_it_takes(validator: jsonschema.Draft202012Validator, data: Any) -> None:
    validator.validate(data)


@pytest.mark.parametrize(
    "data",
    [
        {}, [], {"name": ""}, {"name": "x", "sede": 1}, {"name": "x", "seed": -1}, {"name": "x", "seed": "1"},
        {"name": "x", "steps": {"1a": STEP}}, {"name": "x", "steps": {"a": {}}}, {"name": "x", "steps": {"a": None}},
        {"name": "x", "steps": {"a": {**STEP, "call": "a:b"}}}, {"name": "x", "steps": {"a": {"metrics": "m"}}},
        {"name": "x", "steps": {"a": {**STEP, "thread": 1}}}, {"name": "x", "steps": {"a": {**STEP, "threads": 0}}},
        {"name": "x", "steps": {"a": {**STEP, "replicates": 0}}}, {"name": "x", "steps": {"a": {**STEP, "replicates": {}}}},
        {"name": "x", "steps": {"a": {"call": "ab", "metrics": "m"}}}, {"name": "x", "axes": {"m": []}},
        {"name": "x", "axes": {"m-n": [1]}}, {"name": "x", "axes": {"m": [[1]]}},
        {"name": "x", "steps": {"a": {**STEP, "matrix": {"m n": [1]}}}},
        {"name": "x", "steps": {"a": {**STEP, "cases": {"m": {"1": {"outputs": {}}}}}}},
        {"extends": "b", "steps": {"a": {"thread": 2}}}, {"name": "x", "steps": {"a": {**STEP, "seeding": "half"}}},
    ],
)  # fmt: skip
def test_it_rejects(validator: jsonschema.Draft202012Validator, data: Any) -> None:
    assert not validator.is_valid(data)


def test_every_key_is_described() -> None:
    made = schema.build()
    parts = [made, *(made["$defs"][name] for name in ("Step", "Work", "Matrix", "Replicates"))]
    for part in parts:
        for name, inner in part["properties"].items():
            assert inner.get("description"), name
