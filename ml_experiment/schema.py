"""The JSON schema of an experiment file, for editors: `python -m ml_experiment.schema` prints it.

It is made from the model, so that both say the same. It knows the form only: what a reference
leads to, or whether a step that is `like` another is whole, is told when the plan is made.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from ml_experiment.model import AXIS, Experiment, described

DIALECT = "https://json-schema.org/draft/2020-12/schema"

# What a step needs in a file that stands by itself; one with `extends` may name changes only.
_WHOLE = {
    "anyOf": [{"required": [key]} for key in ("run", "call", "like", "cases")],
    "not": {"required": ["run", "call"]},
}


def build() -> dict[str, Any]:
    """The schema, draft 2020-12."""
    made = Experiment.model_json_schema()
    definitions = {name: _closed(part) for name, part in sorted(made["$defs"].items())}
    for name in ("Step", "Work"):
        definitions[name]["properties"] = {
            key: _removable(part) for key, part in definitions[name]["properties"].items()
        }
        params = definitions[name]["properties"]["params"]
        params["anyOf"].append({"type": "string", "pattern": r"^[A-Za-z][\w-]*\.best\.params$"})
    matrix = definitions["Matrix"]
    own = "|".join(matrix["properties"])
    axis = f"^(?!({own})$){AXIS.removeprefix('^')}"
    matrix["patternProperties"] = {axis: matrix["additionalProperties"]}
    matrix["additionalProperties"] = False
    definitions["Step"]["description"] = described(("steps", "NAME"))
    definitions["WholeStep"] = _WHOLE
    properties = {
        "$schema": {"type": "string", "description": "this schema, for editors of JSON"},
        **_closed(made)["properties"],
    }
    return {
        "$schema": DIALECT,
        "title": "An experiment of ml-experiment",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "if": {"required": ["extends"]},
        "else": {
            "required": ["name"],
            "properties": {
                "steps": {"additionalProperties": {"$ref": "#/$defs/WholeStep"}},
            },
        },
        "$defs": definitions,
    }


def text() -> str:
    """The schema as it is checked in."""
    return json.dumps(build(), indent=2, ensure_ascii=False) + "\n"


def _closed(part: Any) -> Any:
    """Without pydantic's titles and defaults; mappings with named keys take no other."""
    if isinstance(part, list):
        return [_closed(item) for item in part]
    if not isinstance(part, dict):
        return part
    closed = {
        key: {name: _closed(inner) for name, inner in value.items()}
        if key in ("properties", "patternProperties")
        else _closed(value)
        for key, value in part.items()
        if key not in ("title", "default", "$defs", "required")
    }
    if "required" in part and "properties" in part:
        closed["required"] = part["required"]
    if "patternProperties" in closed and "additionalProperties" not in closed:
        closed["additionalProperties"] = False
    return closed


def _removable(part: dict[str, Any]) -> dict[str, Any]:
    """A step's key may be null, and so may a name in it: that takes away what `like` brings."""
    form = {key: value for key, value in part.items() if key != "description"}
    if "patternProperties" in form:
        named = form["patternProperties"].items()
        form["patternProperties"] = {pattern: _or_null(inner) for pattern, inner in named}
    return {"description": part["description"], **_or_null(form)}


def _or_null(form: dict[str, Any]) -> dict[str, Any]:
    forms = form["anyOf"] if set(form) == {"anyOf"} else [form]
    return {"anyOf": [*forms, {"type": "null"}]} if {"type": "null"} not in forms else form


if __name__ == "__main__":
    sys.stdout.write(text())
