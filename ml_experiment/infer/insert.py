"""Where a step goes into the text of an experiment file, every other byte staying as it is.

These functions only propose texts: which of them says what it should is for the caller to
check, by reading it again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import yaml

Render = Callable[[int, int], str]  # (column of the step's name, indentation) -> its lines


class RefusalError(Exception):
    """Why a step cannot be put into a file, in one clause."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


def insertions(text: str, render: Render) -> Iterator[str]:
    """The text of a YAML file with a step more, the likeliest place first.

    Raises:
        RefusalError: the file is written in a way that leaves no place for a block.
        yaml.YAMLError: it is no YAML.
    """
    newline = _newline(text)
    root = yaml.compose(text)
    end = _document_end(text)
    if root is None or (isinstance(root, yaml.ScalarNode) and root.value == ""):
        yield _at(text, end, "steps:\n" + render(2, 2), newline)
        return
    if not isinstance(root, yaml.MappingNode):
        raise RefusalError("its top level is not a mapping")
    if root.flow_style:
        raise RefusalError("it is written in braces")
    unit = _unit(root)
    found = [(key, value) for key, value in root.value if key.value == "steps"]
    if not found:
        column = _column(root)
        block = " " * column + "steps:\n" + render(column + unit, unit)
        yield _at(text, min(end, _after(text, _end(root), column)), block, newline)
        yield _at(text, min(end, _line_after(text, _end(root))), block, newline)
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
    column = _column(steps)
    block = render(column, unit)
    keys = [key.start_mark.index for key, _ in steps.value]
    if len(keys) > 1 and _blank_before(text, keys[-1]):
        block = "\n" + block  # steps are set apart by blank lines here
    last = _end(steps)
    yield _at(text, min(end, _after(text, last, max(column, 1))), block, newline)
    yield _at(text, min(end, _line_after(text, last)), block, newline)


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
    yield _at(text, min(end, _after(text, stop, column + 1)), block, newline)
    yield _at(text, min(end, _line_after(text, stop)), block, newline)


def _at(text: str, place: int, block: str, newline: str) -> str:
    before = text[:place]
    if before.strip("\ufeff") and not before.endswith("\n"):
        before += newline
    return before + block.replace("\n", newline) + text[place:]


def _newline(text: str) -> str:
    return "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"


def _document_end(text: str) -> int:
    """Where the document stops: before an explicit `...`, else at the end of the text."""
    for event in yaml.parse(text):
        if isinstance(event, yaml.DocumentEndEvent) and event.explicit and event.start_mark:
            return int(event.start_mark.index)
    return len(text)


def _unit(root: yaml.MappingNode) -> int:
    """How many columns deeper the file's first block inside another one is; 2 where none is."""
    for _, value in root.value:
        block = isinstance(value, yaml.MappingNode) and not value.flow_style
        if block and value.value and _column(value) > _column(root):
            return _column(value) - _column(root)
    return 2


def _column(mapping: yaml.MappingNode) -> int:
    """Where the keys of a block mapping stand; the mapping itself may begin with an anchor."""
    return int(mapping.value[0][0].start_mark.column)


def _end(node: yaml.Node) -> int:
    """Where the last character of a node is: block collections end before what follows them."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        if isinstance(last, tuple):
            key, value = last
            # The node of an alias stands where its anchor is.
            return max(_end(key), _end(value)) if _follows(key, value) else _end(key)
        return _end(last)
    return int(node.end_mark.index)


def _follows(key: yaml.Node, value: yaml.Node) -> bool:
    return bool(value.start_mark.index >= key.end_mark.index)


def _line_after(text: str, place: int) -> int:
    """The start of the first line after `place`; `place` itself where it starts one."""
    if place and text[place - 1] == "\n":
        return place
    found = text.find("\n", place)
    return len(text) if found < 0 else found + 1


def _after(text: str, place: int, column: int) -> int:
    """The line after `place`, after comments that are indented like what they follow.

    Blank lines that a block scalar took are given back, so that they stay where they separate.
    """
    place = _line_after(text, place)
    stripped = text[:place].rstrip(" \r\n")
    place = min(place, _line_after(text, len(stripped)))
    here = place
    while here < len(text):
        following = text.find("\n", here)
        following = len(text) if following < 0 else following + 1
        line = text[here:following]
        inner = len(line) - len(line.lstrip(" "))
        if line.strip() and not (line.lstrip(" ").startswith("#") and inner >= column):
            break
        here = following
        if line.strip():
            place = here
    return place


def _blank_before(text: str, place: int) -> bool:
    """Whether a blank line stands above the line at `place`, or above its comments."""
    lines = text[:place].split("\n")[:-1]
    while lines and lines[-1].strip().startswith("#"):
        lines.pop()
    return bool(lines) and not lines[-1].strip()


# -- JSON -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Object:
    """The members of a JSON object: name, its place, its value's place and end; the braces."""

    start: int
    members: tuple[tuple[str, int, int, int], ...]


def into_json(text: str, name: str, step: Mapping[str, object]) -> str:
    """The text of a JSON file with a step more, indented as the file is.

    Raises:
        RefusalError: its top level, or its `steps`, is no object.
        ValueError: it is no JSON.
    """
    json.loads(text.removeprefix("\ufeff"))
    start = re.match(r"[\ufeff\s]*", text)
    root = _object(text, start.end() if start else 0)
    if root is None:
        raise RefusalError("its top level is not an object")
    found = [member for member in root.members if member[0] == "steps"]
    unit = _json_unit(text, root)
    if not found:
        return _add_member(text, root, "steps", {name: step}, unit, 1)
    steps = _object(text, found[0][2])
    if steps is None:
        raise RefusalError("its `steps` are not an object")
    return _add_member(text, steps, name, step, unit, 2)


def _object(text: str, start: int) -> _Object | None:
    if text[start : start + 1] != "{":
        return None
    decoder = json.JSONDecoder()
    members = []
    place = _skip(text, start + 1)
    while text[place] != "}":
        key, after = decoder.raw_decode(text, place)
        begin = _skip(text, _skip(text, after) + 1)
        _, stop = decoder.raw_decode(text, begin)
        members.append((key, place, begin, stop))
        place = _skip(text, stop)
        place = _skip(text, place + 1) if text[place] == "," else place
    return _Object(start, tuple(members))


def _skip(text: str, place: int) -> int:
    while text[place] in " \t\r\n":
        place += 1
    return place


def _json_unit(text: str, root: _Object) -> str | None:
    """The indentation of the first member; None where the file is on one line."""
    if not root.members:
        return "  "
    before = text[: root.members[0][1]]
    line, tail = before.rpartition("\n")[1:]
    return tail if line and not tail.strip() else None


def _add_member(
    text: str, into: _Object, name: str, value: object, unit: str | None, depth: int
) -> str:
    newline = _newline(text)
    body = json.dumps(value, ensure_ascii=False, indent=unit, allow_nan=False)
    label = json.dumps(name, ensure_ascii=False)
    if unit is None:
        lead, close = (", " if into.members else ""), ""
    else:
        pad = newline + unit * depth
        body = body.replace("\n", pad)
        lead, close = ("," if into.members else "") + pad, newline + unit * (depth - 1)
    place = into.members[-1][3] if into.members else into.start + 1
    close = "" if into.members or "\n" in text[place : _skip(text, place)] else close
    return f"{text[:place]}{lead}{label}: {body}{close}{text[place:]}"
