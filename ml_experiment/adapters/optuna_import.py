"""Reads trials from a storage of Optuna, which stays as it is.

An SQLite file is opened read-only. Reading a journal file writes nothing and takes no lock; Optuna
unpickles snapshots of journals in Redis only, and those are not read.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from ml_experiment.errors import UserError, did_you_mean

SQLITE = b"SQLite format 3\0"  # how every such file begins
EXPECTED = "sqlite:///FILE.db, or the path of an SQLite or journal file"
BROKEN = (
    AttributeError, KeyError, OSError, RuntimeError, SQLAlchemyError, TypeError, ValueError,
    optuna.exceptions.OptunaError,
)  # fmt: skip


@dataclass(frozen=True)
class Earlier:
    """A trial of another study that is complete.

    Attributes:
        allowed: whether it broke no constraint.
    """

    number: int
    params: dict[str, Any]
    values: tuple[float, ...]
    allowed: bool


@dataclass(frozen=True)
class Found:
    """A study in a storage.

    Attributes:
        directions: `minimize` or `maximize`, of each objective.
        trials: those that are complete, by number.
        others: how many are not.
    """

    study: str
    directions: tuple[str, ...]
    trials: tuple[Earlier, ...]
    others: int


def read(where: str, study: str | None) -> Found:
    """The trials of a study in a storage.

    Args:
        where: `sqlite:///` and a path, or the path of an SQLite or journal file.
        study: its name; it may be left out where there is only one.

    Raises:
        UserError: there is no such storage or study, or it cannot be read.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    file = _file(where)
    try:
        storage = _opened(file)
        known = {each.study_name: each.directions for each in storage.get_all_studies()}
        name = _chosen(study, list(known), where)
        every = storage.get_all_trials(storage.get_study_id_from_name(name), deepcopy=False)
    except BROKEN as error:
        cause = error.__cause__ or error  # Optuna's own words are about commits that failed
        told = " ".join(str(getattr(cause, "orig", None) or cause).split())[:200]
        hint = None
        if "storage upgrade" in told:
            hint = f"copy it, and `optuna storage upgrade --storage sqlite:///{file.name}` there"
        what = f"not a storage that Optuna {optuna.__version__} can read: {told}"
        raise UserError(what, where=where, expected=EXPECTED, hint=hint) from None
    complete = [trial for trial in every if trial.state == TrialState.COMPLETE]
    directions = tuple(direction.name.lower() for direction in known[name])
    return Found(name, directions, tuple(map(_earlier, complete)), len(every) - len(complete))


def _file(where: str) -> Path:
    text = where.removeprefix("sqlite:///")
    if "://" in text:
        hint = "copy the study into a file: `optuna.copy_study(to_storage='sqlite:///copy.db', …)`"
        scheme = text.partition("://")[0]  # the rest may have a password
        raise UserError("not a file", where=f"{scheme}://…", expected=EXPECTED, hint=hint)
    file = Path(text)
    if not file.is_file():
        raise UserError("no such storage", where=where, expected=EXPECTED)
    return file


def _opened(file: Path) -> BaseStorage:
    with file.open("rb") as opened:
        begin = opened.read(len(SQLITE))
    if begin != SQLITE:
        return JournalStorage(JournalFileBackend(str(file)))

    def connect() -> sqlite3.Connection:
        uri = f"{file.absolute().as_uri()}?mode=ro"
        return sqlite3.connect(uri, uri=True, check_same_thread=False)

    return RDBStorage("sqlite://", engine_kwargs={"creator": connect}, skip_table_creation=True)


def _chosen(study: str | None, known: list[str], where: str) -> str:
    if study is None and len(known) == 1:
        return known[0]
    if not known:
        raise UserError("there are no studies in this storage", where=where)
    if study is None:
        which = f"say which, with --study-name: {', '.join(sorted(known))}"
        raise UserError(f"there are {len(known)} studies in this storage", where=where, hint=which)
    if study not in known:
        hint = did_you_mean(study, known)
        raise UserError("no such study in this storage", where=where, value=study, hint=hint)
    return study


def _earlier(trial: FrozenTrial) -> Earlier:
    excess = trial.system_attrs.get("constraints") or ()
    allowed = all(amount <= 0 for amount in excess)
    return Earlier(trial.number, dict(trial.params), tuple(trial.values or ()), allowed)
