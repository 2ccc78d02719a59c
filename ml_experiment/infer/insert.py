"""Where a step goes into the text of an experiment file, every other byte staying as it is.

These functions only propose texts: which of them says what it should is for the caller to
check, by reading it again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping

import yaml

from ml_experiment.infer.places import (
    RefusalError,
    add_member,
    after,
    blank_before,
    column_of,
    document_end,
    end_of,
    json_unit,
    line_after,
    newline_of,
    object_at,
    put,
    unit_of,
)

Render = Callable[[int, int], str]  # (column of the step's name, indentation) -> its lines


def insertions(text: str, render: Render) -> Iterator[str]:
    """The text of a YAML file with a step more, the likeliest place first.

    Raises:
        RefusalError: the file is written in a way that leaves no place for a block.
        yaml.YAMLError: it is no YAML.
    """
    newline = newline_of(text)
    root = yaml.compose(text)
    end = document_end(text)
    if root is None or (isinstance(root, yaml.ScalarNode) and root.value == ""):
        yield put(text, end, "steps:\n" + render(2, 2), newline)
        return
    if not isinstance(root, yaml.MappingNode):
        raise RefusalError("its top level is not a mapping")
    if root.flow_style:
        raise RefusalError("it is written in braces")
    unit = unit_of(root)
    found = [(key, value) for key, value in root.value if key.value == "steps"]
    if not found:
        column = column_of(root)
        block = " " * column + "steps:\n" + render(column + unit, unit)
        yield put(text, min(end, after(text, end_of(root), column)), block, newline)
        yield put(text, min(end, line_after(text, end_of(root))), block, newline)
        return
    key, value = found[0]
    if value.start_mark.index < key.end_mark.index:
        raise RefusalError("its `steps` are an alias")
    if isinstance(value, yaml.MappingNode) and not value.flow_style and value.value:
        yield from _after_last(text, value, unit, end, render, newline)
    else:
        yield from _into_empty(text, key, value, unit, end, render, newline)


def _after_last(
    text: str, steps: yaml.MappingNode, unit: int, end: int, render: Render, newline: str
) -> Iterator[str]:
    column = column_of(steps)
    block = render(column, unit)
    keys = [key.start_mark.index for key, _ in steps.value]
    if len(keys) > 1 and blank_before(text, keys[-1]):
        block = "\n" + block  # steps are set apart by blank lines here
    last = end_of(steps)
    yield put(text, min(end, after(text, last, max(column, 1))), block, newline)
    yield put(text, min(end, line_after(text, last)), block, newline)


def _into_empty(
    text: str,
    key: yaml.Node,
    value: yaml.Node,
    unit: int,
    end: int,
    render: Render,
    newline: str,
) -> Iterator[str]:
    column = key.start_mark.column
    start, stop = value.start_mark.index, value.end_mark.index
    written = text[start:stop]
    if isinstance(value, yaml.MappingNode) and value.value:
        raise RefusalError("its `steps` are written in braces")
    if re.sub(r"\s", "", written) not in ("", "{}", "~", "null"):
        raise RefusalError("its `steps` are not a mapping")
    if written:
        before = text[:start].rstrip(" ")
        if "\n" in text[len(before) : stop] or not before.endswith(":"):
            raise RefusalError("its `steps` are written in a way of their own")
        # The braces go, and the space before them: nothing may stand before a block.
        text, stop, end = before + text[stop:], len(before), end - (stop - len(before))
    block = render(column + unit, unit)
    yield put(text, min(end, after(text, stop, column + 1)), block, newline)
    yield put(text, min(end, line_after(text, stop)), block, newline)


def into_json(text: str, name: str, step: Mapping[str, object]) -> str:
    """The text of a JSON file with a step more, indented as the file is.

    Raises:
        RefusalError: its top level, or its `steps`, is no object.
        ValueError: it is no JSON.
    """
    json.loads(text.removeprefix("\ufeff"))
    start = re.match(r"[\ufeff\s]*", text)
    root = object_at(text, start.end() if start else 0)
    if root is None:
        raise RefusalError("its top level is not an object")
    found = [member for member in root.members if member[0] == "steps"]
    unit = json_unit(text, root)
    if not found:
        return add_member(text, root, "steps", {name: step}, unit, 1)
    steps = object_at(text, found[0][2])
    if steps is None:
        raise RefusalError("its `steps` are not an object")
    return add_member(text, steps, name, step, unit, 2)
