"""Places in the text of a YAML or JSON file at which something can be put in.

Positions are those of PyYAML's marks, in characters from the beginning of the text.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import yaml


class RefusalError(Exception):
    """Why something cannot be put into a file, in one clause."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


def put(text: str, place: int, block: str, newline: str) -> str:
    """The text with whole lines more."""
    before = text[:place]
    if before.strip("\ufeff") and not before.endswith("\n"):
        before += newline
    return before + block.replace("\n", newline) + text[place:]


def newline_of(text: str) -> str:
    return "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"


def document_end(text: str) -> int:
    """Where the document stops: before an explicit `...`, else at the end of the text."""
    for event in yaml.parse(text):
        if isinstance(event, yaml.DocumentEndEvent) and event.explicit and event.start_mark:
            return int(event.start_mark.index)
    return len(text)


def unit_of(root: yaml.MappingNode) -> int:
    """How many columns deeper the file's first block inside another one is; 2 where none is."""
    for _, value in root.value:
        block = isinstance(value, yaml.MappingNode) and not value.flow_style
        if block and value.value and column_of(value) > column_of(root):
            return column_of(value) - column_of(root)
    return 2


def column_of(mapping: yaml.MappingNode) -> int:
    """Where the keys of a block mapping stand; the mapping itself may begin with an anchor."""
    return int(mapping.value[0][0].start_mark.column)


def end_of(node: yaml.Node) -> int:
    """Where the last character of a node is: block collections end before what follows them."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        if isinstance(last, tuple):
            key, value = last
            # The node of an alias stands where its anchor is.
            return max(end_of(key), end_of(value)) if follows(key, value) else end_of(key)
        return end_of(last)
    return int(node.end_mark.index)


def follows(key: yaml.Node, value: yaml.Node) -> bool:
    return bool(value.start_mark.index >= key.end_mark.index)


def line_after(text: str, place: int) -> int:
    """The start of the first line after `place`; `place` itself where it starts one."""
    if place and text[place - 1] == "\n":
        return place
    found = text.find("\n", place)
    return len(text) if found < 0 else found + 1


def after(text: str, place: int, column: int) -> int:
    """The line after `place`, after comments that are indented like what they follow.

    Blank lines that a block scalar took are given back, so that they stay where they separate.
    """
    place = line_after(text, place)
    stripped = text[:place].rstrip(" \r\n")
    place = min(place, line_after(text, len(stripped)))
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


def blank_before(text: str, place: int) -> bool:
    """Whether a blank line stands above the line at `place`, or above its comments."""
    lines = text[:place].split("\n")[:-1]
    while lines and lines[-1].strip().startswith("#"):
        lines.pop()
    return bool(lines) and not lines[-1].strip()


# -- JSON -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Object:
    """The members of a JSON object: name, its place, its value's place and end; the braces."""

    start: int
    members: tuple[tuple[str, int, int, int], ...]


def object_at(text: str, start: int) -> Object | None:
    if text[start : start + 1] != "{":
        return None
    decoder = json.JSONDecoder()
    members = []
    place = skip(text, start + 1)
    while text[place] != "}":
        key, behind = decoder.raw_decode(text, place)
        begin = skip(text, skip(text, behind) + 1)
        _, stop = decoder.raw_decode(text, begin)
        members.append((key, place, begin, stop))
        place = skip(text, stop)
        place = skip(text, place + 1) if text[place] == "," else place
    return Object(start, tuple(members))


def skip(text: str, place: int) -> int:
    while text[place] in " \t\r\n":
        place += 1
    return place


def json_unit(text: str, root: Object) -> str | None:
    """The indentation of the first member; None where the file is on one line."""
    if not root.members:
        return "  "
    before = text[: root.members[0][1]]
    line, tail = before.rpartition("\n")[1:]
    return tail if line and not tail.strip() else None


def add_member(
    text: str, into: Object, name: str, value: object, unit: str | None, depth: int
) -> str:
    newline = newline_of(text)
    body = json.dumps(value, ensure_ascii=False, indent=unit, allow_nan=False)
    label = json.dumps(name, ensure_ascii=False)
    if unit is None:
        lead, close = (", " if into.members else ""), ""
    else:
        pad = newline + unit * depth
        body = body.replace("\n", pad)
        lead, close = ("," if into.members else "") + pad, newline + unit * (depth - 1)
    place = into.members[-1][3] if into.members else into.start + 1
    close = "" if into.members or "\n" in text[place : skip(text, place)] else close
    return f"{text[:place]}{lead}{label}: {body}{close}{text[place:]}"
