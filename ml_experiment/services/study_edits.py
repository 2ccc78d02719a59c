"""What `ml-experiment studies` writes into the experiment file: trials out of a study, and into it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_experiment import config, keys
from ml_experiment.errors import UserError
from ml_experiment.infer.items import appended, appended_json
from ml_experiment.infer.places import RefusalError
from ml_experiment.infer.render import inline
from ml_experiment.plan import Job, Plan
from ml_experiment.services import edit
from ml_experiment.services.studies import STATES, StudyRow, by_value, chosen, studies


@dataclass(frozen=True)
class Change:
    """A list of the experiment file that is to become longer.

    Attributes:
        file: a link's target is what is written.
        path: of the list, such as `("studies", "tune", "remove")`.
        items: the new ones.
        old: the bytes of the file as they were read.
        new: its bytes with the items.
    """

    file: Path
    path: tuple[str, ...]
    items: tuple[Any, ...]
    old: bytes
    new: bytes

    @property
    def key(self) -> str:
        """The list as messages name it."""
        return ".".join(self.path)


def write(change: Change) -> None:
    """Replace the experiment file, at once or not at all.

    Raises:
        UserError: the file has changed since, or cannot be written.
    """
    edit.replace(change.file, change.old, change.new)


def remove(plan: Plan, file: Path, name: str, numbers: Sequence[int]) -> Change | None:
    """Take trials out of a study. Writes nothing; None where all of them are out already.

    Args:
        plan: the experiment.
        file: its file.
        name: of the study.
        numbers: of trials that have ended, in any of its cases.

    Raises:
        UserError: there is no such study or trial, or the list is not written in this file.
    """
    rows = studies(plan, name)
    _check_numbers(rows, numbers)
    path = ("studies", name, "remove")
    known = frozenset(number for row in rows for number in _in_state(row, ("removed",)))
    items = [number for number in dict.fromkeys(numbers) if number not in known]
    check_place(plan, file, path, items)
    return change(file, path, items) if items else None


def gone(plan: Plan, name: str, numbers: Sequence[int]) -> list[str]:
    """The folders of trials that become the best, and whose outputs `keep` has removed already."""
    step = chosen(plan, name)
    found = []
    for row, case in zip(studies(plan, name), step.cases, strict=True):
        layout = keys.layout(plan, Job(step, case, step.replicates[0]))
        left = [t for t in by_value(row) if t.rank is not None and t.number not in numbers]
        if not left or len(row.objectives) > 1:  # of a front nothing is linked
            continue
        jobs = [layout.job(left[0].number, replicate) for replicate in layout.replicates]
        files = [plan.folder / job / file for job in jobs for file in layout.outputs.values()]
        if not all(file.exists() for file in files):
            found.append(str(layout.trial(left[0].number)))
    return found


def _check_numbers(rows: Sequence[StudyRow], numbers: Sequence[int]) -> None:
    ended = {number for row in rows for number in _in_state(row, STATES)}
    declared = max(row.declared for row in rows)
    for number in numbers:
        if number >= declared:
            expected = f"a number from 0 to {declared - 1}"
            raise UserError("no such trial", value=number, expected=expected)
        if number not in ended:
            hint = f"`ml-experiment studies {rows[0].study}` shows those that have"
            raise UserError("this trial has not ended", value=number, hint=hint)


def _in_state(row: StudyRow, states: Sequence[str]) -> Iterator[int]:
    return (trial.number for trial in row.trials if trial.state in states)


def change(file: Path, path: tuple[str, ...], items: Sequence[Any]) -> Change:
    """More items in a list of the experiment file.

    Raises:
        UserError: the file is written in a way that leaves no place for them, or the experiment
            does not take them.
    """
    old = edit.read_bytes(file, "experiment file")
    text = edit.decoded(old, str(file))
    wanted = _longer(edit.plain(text, file), path, items)
    key, shown = ".".join(path), inline(list(items))
    by_hand = f"write it yourself: {key}: {shown}"
    try:
        new = edit.picked(_candidates(text, path, items, file), wanted, text, file)
    except RefusalError as refusal:
        what = f"this cannot be written into the file: {refusal.why}"
        raise UserError(what, where=str(file), hint=by_hand) from None
    known = {edit.identity(problem) for problem in edit.problems(text, file)}
    wrong = [p for p in edit.problems(new, file) if edit.identity(p) not in known]
    if wrong:
        what = f"the experiment would not take it: {wrong[0].key}: {wrong[0].what}"
        raise UserError(what, where=str(file), value=wrong[0].value, hint=wrong[0].hint)
    return Change(file, path, tuple(items), old, new.encode())


def _candidates(
    text: str, path: tuple[str, ...], items: Sequence[Any], file: Path
) -> Iterator[str]:
    if file.suffix == ".json":
        yield appended_json(text, path, items)
    else:
        yield from appended(text, path, items)


def _longer(data: Any, path: tuple[str, ...], items: Sequence[Any]) -> Any:
    """The data of the file with a longer list in it."""
    if not path:
        return (*(data if isinstance(data, tuple) else ()), *items)
    if not isinstance(data, dict):  # `check_place` has seen that it is one
        return data
    return {**data, path[0]: _longer(data.get(path[0]), path[1:], items)}


def check_place(plan: Plan, file: Path, path: tuple[str, ...], items: Sequence[Any]) -> None:
    """Whether the file itself says what the list holds, so that a longer one there counts.

    Raises:
        UserError: a base, a variant or an override does.
    """
    key, shown = ".".join(path), inline(list(items))
    variant = plan.config.get("variant")
    if plan.overridden:
        what = f"{key} would change for {plan.file} itself, and these are trials of "
        what += f"the variant {variant}" if variant else "values given with --set"
        hint = f"write it yourself: variants.{variant}: {{{key}: {shown}}}" if variant else None
        raise UserError(what, where=str(file), hint=hint or "leave --set out")
    own: Any = edit.plain(edit.decoded(edit.read_bytes(file, "experiment file"), str(file)), file)
    for part in path[:-1]:
        own = own.get(part) if isinstance(own, dict) else None
    places, above = config.load(file).places, path[:-1]
    if not isinstance(own, dict):
        where = f" but in {places[above]}" if above in places else ""
        what = f"{'.'.join(above)} is not written in this file{where}"
        raise UserError(what, where=str(file), hint=f"write it yourself: {key}: {shown}")
    if path[-1] not in own and path in places:  # a list here would take the place of that one
        what = f"{key} is not written in this file but in {places[path]}"
        raise UserError(what, where=str(file), hint=f"add to it there yourself: {shown}")
