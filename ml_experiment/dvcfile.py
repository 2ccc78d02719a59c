"""dvc.yaml with our stages in it, and everything else as its user has written it."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from ml_experiment.errors import UserError
from ml_experiment.stages import COMMAND, RULE, Stage

HEAD = """\
# The stages whose command is `ml-experiment stage NAME` come from the experiment: `ml-experiment dvc`
# writes them. Others are yours, and stay.
"""
OF_RULE = re.compile(rf"{re.escape(f'{COMMAND} {RULE}')} ([\w.-]+)")
OURS = re.compile(r"results[^/]*/.+/(best\.json|trials\.csv)")  # of what is shown beside stages


def merged(text: str, stages: Sequence[Stage], shown: Mapping[str, Sequence[Any]]) -> str:
    """The file with these stages in it, in the place of those that an earlier call has written.

    Args:
        text: of the file as it is, empty where there is none.
        stages: of the experiment.
        shown: our entries of the lists `metrics` and `plots`.

    Raises:
        UserError: it is no file of DVC's, or a stage of the user's has the name of a step.
    """
    yaml = YAML()  # "rt": comments, quotes and order stay, and no objects are made
    yaml.width = 10_000  # no line of the user's is broken
    fresh, document, known = _read(yaml, text)
    names = {stage.name for stage in stages}
    for name in [name for name, stage in known.items() if name not in names and _is_ours(stage)]:
        if not _rule(known[name]):
            del known[name]
    for stage in stages:
        if stage.name in known and not _is_ours(known[stage.name]):
            raise UserError(
                f"a stage of yours has the name of the {'rule' if stage.by_hand else 'step'} {stage.name}",
                where="dvc.yaml",
                hint="give one of the two another name",
            )
        if _plain(known.get(stage.name)) != stage.data():
            known[stage.name] = stage.data()
    for kind in ("metrics", "plots"):
        _show(document, kind, shown.get(kind, ()))
    written = io.StringIO()
    yaml.dump(document, written)
    return HEAD + written.getvalue() if fresh else written.getvalue()


def of_rules(text: str) -> list[Stage]:
    """The stages of rules that were written by hand, as their user has left them.

    Raises:
        UserError: it is no file of DVC's.
    """
    _, _, known = _read(YAML(), text)
    found = []
    for name, stage in known.items():
        if _rule(stage) == name:
            deps, outs = (
                [_path(each) for each in stage.get(part) or ()] for part in ("deps", "outs")
            )
            found.append(Stage(name, (*deps,), {}, (*outs,), (), (), by_hand=True))
    return found


def _read(yaml: YAML, text: str) -> tuple[bool, CommentedMap, dict[str, Any]]:
    """Whether the file is empty, what is in it, and its stages."""
    try:
        document = yaml.load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError("not valid YAML", where=f"dvc.yaml{line}") from None
    fresh = document is None
    document = CommentedMap() if fresh else document
    known = document.setdefault("stages", CommentedMap()) if isinstance(document, dict) else None
    if not isinstance(known, dict):
        raise UserError("no file of DVC's", where="dvc.yaml", expected="a mapping with `stages`")
    return fresh, document, known


def _rule(stage: Any) -> str | None:
    """The rule that a stage is of."""
    of = OF_RULE.fullmatch(str(stage.get("cmd", ""))) if isinstance(stage, dict) else None
    return of and of[1]


def _is_ours(stage: Any) -> bool:
    return isinstance(stage, dict) and str(stage.get("cmd", "")).startswith(f"{COMMAND} ")


def _show(document: CommentedMap, kind: str, ours: Sequence[Any]) -> None:
    """Put our entries into a list at the end; those of the user stay."""
    there = document.get(kind) or []
    left = [entry for entry in there if not OURS.fullmatch(_path(entry))]
    if _plain(there) == [*_plain(left), *ours]:
        return
    if left or ours:
        document[kind] = [*left, *ours]
    else:
        document.pop(kind, None)


def _path(entry: Any) -> str:
    return str(next(iter(entry), "")) if isinstance(entry, dict) else str(entry)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
