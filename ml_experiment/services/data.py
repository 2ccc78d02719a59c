"""`ml-experiment data`: raw data in DVC, and from where they come.

DVC does it: `dvc add`, `dvc import-url`, `dvc import`. What comes in is hashed by us, and is refused
where it is not what the .dvc file or the experiment says; then everything is as it was.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from ml_experiment import atomic, rawdata, staleness, times
from ml_experiment.adapters import dvc
from ml_experiment.errors import MLExperimentError, UserError, did_you_mean
from ml_experiment.hashing import of_path
from ml_experiment.model import Data
from ml_experiment.plan import Plan
from ml_experiment.services import exchange

Word = Literal["kept", "not added", "changed", "wrong", "absent", "lost"]

SAID = {
    "kept": "",
    "not added": "`ml-experiment data add` gives it to DVC",
    "changed": "not what its .dvc file says: `ml-experiment data add` keeps it, "
    "`dvc checkout --force` puts back the other",
    "wrong": "not the md5 of the experiment",
    "absent": "`ml-experiment data get` fetches it",
    "lost": "neither DVC nor the experiment says where it comes from",
}


class Item(NamedTuple):
    """One of the experiment's raw data.

    Attributes:
        state: "kept", as its .dvc file says; "not added" to DVC; "changed" since; "wrong", with
            another md5 than the experiment's; "absent"; "lost", absent with no place to come from.
        hash: of what is there; None where there is nothing.
        source: where DVC has fetched it from, else where the experiment says that it may come from.
    """

    name: str
    path: str
    state: Word
    hash: str | None
    source: str


def listed(plan: Plan, names: Sequence[str] = ()) -> list[Item]:
    """The raw data of these names, or all, with what is known of them.

    Raises:
        UserError: no such name, or a .dvc file that cannot be read.
    """
    return [_item(plan, name, data) for name, data in _chosen(plan, names).items()]


def get(plan: Plan, names: Sequence[str]) -> list[str]:
    """Fetch what is not there: from DVC's cache or remote, else from where it comes from.

    Returns:
        The names of what was fetched.

    Raises:
        MLExperimentError: all that cannot be had, or has other bytes than it should have; what
            can be had is there then.
    """
    _need_repository(plan)
    done: list[str] = []
    wrong: list[MLExperimentError] = []
    for name, data in _chosen(plan, names).items():
        try:
            done += [name] if _fetched(plan, name, data) else []
        except MLExperimentError as error:
            wrong.append(error)
    _align(plan, done)
    if wrong:
        told = [f"fetched: {', '.join(done)}"] if done else []
        raise MLExperimentError("\n".join([*told, *map(str, wrong)]))
    return done


def add(plan: Plan, names: Sequence[str]) -> list[str]:
    """Give DVC what is there and not as it has it; the names of what it was given.

    Raises:
        UserError: data that are not there, or not the md5 of the experiment; then nothing is added.
    """
    _need_repository(plan)
    items = listed(plan, names)
    bad = [item for item in items if item.state == "wrong" or (names and item.hash is None)]
    if bad:
        told = ", ".join(f"{item.path} ({item.state})" for item in bad)
        raise UserError("these cannot be added", value=told, hint=SAID[bad[0].state])
    done = [item for item in items if item.state in ("not added", "changed")]
    for item in done:
        if ignored := dvc.left_out(plan.folder, item.path):
            raise UserError(
                "DVC would leave out files of these data, by .dvcignore",
                where=item.path,
                value=", ".join(ignored[:3]) + (" …" if ignored[3:] else ""),
                hint="move them elsewhere, or take what fits them out of .dvcignore",
            )
        digest = dvc.add(plan.folder, item.path)
        if digest != item.hash:
            raise UserError("it changed while it went to DVC", value=item.path)
    names = [item.name for item in done]
    _align(plan, names)
    return names


def _chosen(plan: Plan, names: Sequence[str]) -> dict[str, Data]:
    declared = plan.experiment.data
    for name in names:
        if name not in declared:
            hint = did_you_mean(name, declared) or "the experiment declares none: `data:`"
            raise UserError("no such raw data", value=name, hint=hint)
    return {name: declared[name] for name in names or declared}


def _item(plan: Plan, name: str, data: Data) -> Item:
    path = rawdata.path_of(data.path)
    kept = rawdata.kept(plan.folder, path)
    now = of_path(plan.folder / path)
    state: Word = "kept"
    if now is None:
        state = "absent" if _obtainable(plan, data, kept) else "lost"
    elif data.md5 not in (None, now):
        state = "wrong"
    elif kept is None or not kept.digest:
        state = "not added"
    elif kept.digest != now:
        state = "changed"
    declared = rawdata.described(data.source) if data.source is not None else ""
    return Item(name, path, state, now, kept.origin if kept and kept.origin else declared)


def _obtainable(plan: Plan, data: Data, kept: rawdata.Kept | None) -> bool:
    if data.source is not None or (kept and kept.origin):
        return True
    there = dvc.is_repository(plan.folder)
    return bool(there and kept and kept.digest and dvc.obtainable(plan.folder, kept.digest))


def _fetched(plan: Plan, name: str, data: Data) -> bool:
    """Fetch one; whether it was not there."""
    path = rawdata.path_of(data.path)
    if (plan.folder / path).exists():
        return False
    kept = rawdata.kept(plan.folder, path)
    reason: MLExperimentError | None = None
    if kept is not None and kept.digest:
        try:
            done = exchange.fetch(plan, [rawdata.file_of(path)], None)
        except MLExperimentError as error:
            reason = error
        else:
            reason = done.trouble
            if reason is None and done.lacking:
                reason = UserError("neither DVC's cache nor its remote has them", value=path)
        if reason is None:
            _check(plan, name, path, data.md5, "the md5 that the experiment says")
            return True
    if data.source is None:
        raise reason or UserError(
            f"nothing says where the raw data {name} comes from",
            value=path,
            hint=f"put it there, or write `from` into the experiment: data.{name}",
        )
    with _as_it_was(plan.folder, path):
        try:
            digest = dvc.bring(plan.folder, path, data.source)
        except UserError as error:
            raise UserError(
                f"the raw data {name} cannot be fetched: {error.problem.what}",
                where=path,
                value=rawdata.described(data.source),
                hint="is it there, and can it be reached?",
            ) from None
        _check(plan, name, path, digest, "what DVC has hashed")
        _check(plan, name, path, data.md5, "the md5 that the experiment says")
        if kept is not None and kept.digest:
            _check(plan, name, path, kept.digest, f"what {rawdata.file_of(path)} says")
    return True


def _check(plan: Plan, name: str, path: str, expected: str | None, said: str) -> None:
    """Refuse what came in with other bytes than it should have; it does not stay."""
    found = of_path(plan.folder / path)
    if expected in (None, found):
        return
    exchange.remove(plan.folder / path)
    raise UserError(
        f"what was fetched for the raw data {name} is not {said}, and was removed",
        where=path,
        value=found,
        expected=expected,
        hint=f"if these bytes are the right ones: remove {rawdata.file_of(path)}, or mend `md5`",
    )


@contextmanager
def _as_it_was(folder: Path, path: str) -> Iterator[None]:
    """Where fetching fails the .dvc file and .gitignore are what they were before."""
    files = (folder / rawdata.file_of(path), (folder / path).parent / ".gitignore")
    before = [file.read_text("utf-8") if file.is_file() else None for file in files]
    try:
        yield
    except BaseException:
        exchange.remove(folder / path)
        for file, text in zip(files, before, strict=True):
            if text is None:
                file.unlink(missing_ok=True)
            else:
                atomic.write_if_changed(file, text)
        raise


def _need_repository(plan: Plan) -> None:
    if not dvc.is_repository(plan.folder):
        hint = "`dvc init` makes one in a git repository, `dvc init --no-scm` without git"
        raise UserError("no DVC repository here", where=str(plan.folder), hint=hint)


def _align(plan: Plan, done: Sequence[str]) -> None:
    """Snakemake goes by times: the same bytes are no reason to run anything."""
    if done:
        plan = rawdata.looked_at(plan)
        times.align(plan, staleness.judged(plan), time.time_ns())
