"""Overrides as words of Snakemake's `--config`, and back.

Snakemake types a plain value (`seed=7`) and reads a mapping as YAML in which every value is a
string. So strings inside a mapping are read once more here, by YAML 1.2's rules; one that would
become something else, such as the string `3`, is quoted when it is written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import yaml

from ml_experiment import yamlio
from ml_experiment.errors import MLExperimentError, UserError, nearest
from ml_experiment.model import Experiment

WIDE = 1 << 20  # columns: nothing is folded


def to_words(config: Mapping[str, Any]) -> list[str]:
    """`KEY=VALUE` for each override, sorted, to stand behind --config."""
    return [f"{key}={_top(value)}" for key, value in sorted(config.items())]


def from_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Snakemake's config with the values that were meant."""
    return {key: _read(value) for key, value in config.items()}


def ours(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a Snakefile's config is meant for the experiment.

    A Snakefile may have a config of its own (`configfile:`), so other keys are let through; not
    one that looks like a slip.

    Raises:
        UserError: a key that is nearly one of the experiment's.
    """
    known = {"experiment", "variant", *Experiment.model_fields}
    for key in config:
        near = None if key in known else nearest(key, known, cutoff=0.75)
        if near:
            where = "the workflow's config (--config, configfile)"
            raise UserError(f"unknown key: {key}", where=where, hint=f"did you mean {near}?")
    return {key: value for key, value in config.items() if key in known}


def _top(value: Any) -> str:
    if isinstance(value, str):
        return value
    text = yaml.safe_dump(_quoted(value), default_flow_style=True, width=WIDE, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _quoted(value: Any) -> Any:
    """Everything inside as strings that `_read` reads as what they were."""
    if isinstance(value, dict):
        return {str(key): _quoted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_quoted(item) for item in value]
    if isinstance(value, str):
        if _scalar(value) == value:
            return value
        return yaml.safe_dump(value, default_style='"', width=WIDE).removesuffix("\n")
    if isinstance(value, float) and math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    return json.dumps(value)


def _read(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _read(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_read(item) for item in value]
    return _scalar(value) if isinstance(value, str) else value


def _scalar(text: str) -> Any:
    """A string as YAML reads it; itself, where it is more than a scalar or none at all."""
    try:
        value = yamlio.read_value(text, "--config")
    except MLExperimentError:
        return text
    return text if isinstance(value, dict | list | tuple) else value
