"""Items more in a list of an experiment file, every other byte staying as it is.

As in `insert`, these functions only propose texts, and the caller reads them again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

import yaml

from ml_experiment.infer.places import (
    RefusalError,
    add_member,
    after,
    column_of,
    document_end,
    end_of,
    follows,
    json_unit,
    line_after,
    newline_of,
    object_at,
    put,
    skip,
    unit_of,
)
from ml_experiment.infer.render import inline

Path = tuple[str, ...]


def appended(text: str, path: Path, items: Sequence[object]) -> Iterator[str]:
    """The text of a YAML file with more items in the list at a path, the likeliest place first.

    All of the path but its last part is there; a list that is not is begun.

    Raises:
        RefusalError: the file is written in a way that leaves no place for them.
        yaml.YAMLError: it is no YAML.
    """
    root = yaml.compose(text)
    mapping = _inside(root, path[:-1])
    found = next((pair for pair in mapping.value if pair[0].value == path[-1]), None)
    if found is None:
        yield from _new(text, root, mapping, path[-1], items)
        return
    key, value = found
    if not follows(key, value):
        raise RefusalError(f"its `{path[-1]}` is an alias")
    if not isinstance(value, yaml.SequenceNode):
        yield _instead_of_nothing(text, key, value, items)
    elif value.flow_style:
        last = end_of(value.value[-1]) if value.value else value.end_mark.index - 1
        lead = ", " if value.value else ""
        yield text[:last] + lead + _listed(text, items, key) + text[last:]
    elif value.value:
        yield from _lines(text, value, items)


def _inside(node: yaml.Node | None, path: Path) -> yaml.MappingNode:
    for name in path:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = next((pair for pair in pairs if pair[0].value == name), None)
        if found is None:
            raise RefusalError(f"it has no `{'.'.join(path)}`")
        key, node = found
        if not follows(key, node):
            raise RefusalError(f"its `{name}` is an alias")
    if not isinstance(node, yaml.MappingNode) or not node.value:
        raise RefusalError(f"its `{path[-1]}` is not a mapping")
    return node


def _new(
    text: str, root: yaml.Node | None, mapping: yaml.MappingNode, name: str, items: Sequence[object]
) -> Iterator[str]:
    """A list that is begun, as the last key of its mapping."""
    key, value = mapping.value[-1]
    if mapping.flow_style:
        place = end_of(value) if follows(key, value) else _behind_alias(text, key)
        yield f"{text[:place]}, {name}: [{_listed(text, items, mapping)}]{text[place:]}"
        return
    column = column_of(mapping)
    pad = " " * column
    block = f"{pad}{name}: [{', '.join(map(inline, items))}]\n"
    if any(isinstance(item, dict) for item in items):
        unit = unit_of(root) if isinstance(root, yaml.MappingNode) else 2
        block = f"{pad}{name}:\n" + _rows(items, column + unit)
    newline, end, last = newline_of(text), document_end(text), end_of(mapping)
    yield put(text, min(end, after(text, last, max(column, 1))), block, newline)
    yield put(text, min(end, line_after(text, last)), block, newline)


def _lines(text: str, value: yaml.SequenceNode, items: Sequence[object]) -> Iterator[str]:
    """Lines more below those of a list."""
    first = value.value[0].start_mark.index
    column = text.rindex("-", 0, first) - (text.rfind("\n", 0, first) + 1)
    newline, end, last = newline_of(text), document_end(text), end_of(value)
    block = _rows(items, column)
    yield put(text, min(end, after(text, last, max(column, 1))), block, newline)
    yield put(text, min(end, line_after(text, last)), block, newline)


def _instead_of_nothing(
    text: str, key: yaml.Node, value: yaml.Node, items: Sequence[object]
) -> str:
    written = text[value.start_mark.index : value.end_mark.index]
    if written.strip() not in ("", "~", "null"):
        raise RefusalError(f"its `{key.value}` is not a list")
    start, stop = value.start_mark.index, value.end_mark.index
    if not written.strip():
        start = stop = text.index(":", key.end_mark.index) + 1
    lead = "" if text[start - 1] == " " else " "
    return f"{text[:start]}{lead}[{_listed(text, items, key)}]{text[stop:]}"


def _behind_alias(text: str, key: yaml.Node) -> int:
    found = re.compile(r"\s*:\s*\*[^\s,\[\]{}]+").match(text, key.end_mark.index)
    if found is None:
        raise RefusalError("its last value is written in a way of its own")
    return found.end()


def _listed(text: str, items: Sequence[object], beside: yaml.Node) -> str:
    """Items between brackets; mappings each on a line of its own."""
    if len(items) < 2 or not any(isinstance(item, dict) for item in items):
        return ", ".join(map(inline, items))
    pad = " " * (beside.start_mark.column + 2)
    return f",{newline_of(text)}{pad}".join(map(inline, items))


def _rows(items: Sequence[object], column: int) -> str:
    return "".join(f"{' ' * column}- {inline(item)}\n" for item in items)


# -- JSON -----------------------------------------------------------------------------------------


def appended_json(text: str, path: Path, items: Sequence[object]) -> str:
    """The text of a JSON file with more items in the list at a path, indented as the file is.

    Raises:
        RefusalError: what stands there is no object, or no list.
        ValueError: it is no JSON.
    """
    json.loads(text.removeprefix("\ufeff"))
    start = re.match(r"[\ufeff\s]*", text)
    root = inside = object_at(text, start.end() if start else 0)
    for name in path[:-1]:
        member = next((m for m in inside.members if m[0] == name), None) if inside else None
        inside = object_at(text, member[2]) if member else None
    if root is None or inside is None:
        raise RefusalError(f"its `{'.'.join(path[:-1])}` is not an object")
    found = next((member for member in inside.members if member[0] == path[-1]), None)
    unit = json_unit(text, root)
    if found is None:
        return add_member(text, inside, path[-1], list(items), unit, len(path))
    _, _, begin, stop = found
    if text[begin] != "[":
        raise RefusalError(f"its `{path[-1]}` is not a list")
    return _into_array(text, begin, stop, items)


def _into_array(text: str, begin: int, stop: int, items: Sequence[object]) -> str:
    """Each item stands as the first one does: on a line of its own, or beside the one before."""
    first = skip(text, begin + 1)
    if first == stop - 1:
        lead, between, place = "", ", ", begin + 1
    else:
        gap = text[begin + 1 : first]
        between = "," + (gap if "\n" in gap else " ")
        lead, place = between, len(text[: stop - 1].rstrip())
    body = between.join(json.dumps(item, ensure_ascii=False, allow_nan=False) for item in items)
    return text[:place] + lead + body + text[place:]
