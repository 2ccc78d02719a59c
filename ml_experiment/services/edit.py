"""The experiment file, changed: what a new text says, and how it takes the place of the old one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import yaml

from ml_experiment import config, yamlio
from ml_experiment.errors import ExperimentError, MLExperimentError, Place, Problem, UserError
from ml_experiment.infer.places import RefusalError
from ml_experiment.resolve import resolve


def replace(file: Path, old: bytes, new: bytes) -> None:
    """Replace the experiment file, at once or not at all; its mode stays.

    Raises:
        UserError: the file has changed since, or cannot be written.
    """
    target = Path(os.path.realpath(file))
    where = str(file)
    temporary: str | None = None
    try:
        if target.read_bytes() != old:
            raise UserError("the file has changed meanwhile", where=where, hint="try again")
        mode = target.stat().st_mode & 0o7777
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:100]}.")
        with os.fdopen(handle, "wb") as opened:
            opened.write(new)
            opened.flush()
            os.fsync(opened.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, target)
        temporary = None
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror or error}", where=where) from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def read_bytes(path: Path, what: str, limit: int | None = None) -> bytes:
    """The bytes of a file; `what` it is, for messages."""
    try:
        if limit is not None and path.stat().st_size > limit:
            raise UserError("too large for a script", where=str(path))
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"no such {what}", where=str(path)) from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror or error}", where=str(path)) from None


def decoded(data: bytes, where: str) -> str:
    """UTF-8 as text."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(
            "not UTF-8 text", where=Place(where, line), hint="save it as UTF-8"
        ) from None


def picked(candidates: Iterable[str], wanted: object, text: str, file: Path) -> str:
    """The first of some texts that, read again, says what is wanted.

    Args:
        candidates: they may raise what reading YAML or JSON raises.
        wanted: the data of the whole file.
        text: what the file holds now.
        file: its name says which of the two it is.

    Raises:
        RefusalError: none of them does.
    """
    try:
        for new in candidates:
            if same(plain(new, file), tuples(wanted)):
                return new
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        why = f"it could not be understood ({str(error).splitlines()[0]})"
        raise RefusalError(why) from None
    if not text.endswith("\n"):
        why = "its last line, which does not end, would change: end it with a newline first"
        raise RefusalError(why)
    raise RefusalError("wherever it is put, the rest of the file would say something else")


def plain(text: str, file: Path) -> object:
    """What a text says, lists as tuples; None where it cannot be read."""
    try:
        return yamlio.read(text, file.name).plain()
    except (MLExperimentError, ValueError, RecursionError):  # not the text to write
        return None


def tuples(value: object) -> object:
    """Lists as tuples, as `yamlio` reads them."""
    if isinstance(value, dict):
        return {key: tuples(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(tuples(item) for item in value)
    return value


def same(one: object, other: object) -> bool:
    """Equal, in type and in the order of keys too; one NaN equals another."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and repr(one) == repr(other)


def problems(text: str, file: Path) -> tuple[Problem, ...]:
    """What `check` would say to a file with this text; nothing is written for that."""
    try:
        resolve(config.load(file, text=text))
    except ExperimentError as error:
        return error.problems
    except UserError as error:
        return (error.problem,)
    return ()


def identity(problem: Problem) -> tuple[str, str | None, str]:
    """What makes two problems the same although lines have moved."""
    return problem.what, problem.key, repr(problem.value)
