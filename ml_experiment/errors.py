"""Every error that a user can meet, as one tree.

    MLExperimentError
    ├── UserError            one mistake: what, where, the value, what was expected, what to do
    └── ExperimentError      all mistakes of an experiment at once, a `Problem` each

A message never shows a traceback: the command line prints `str(error)` and exits with 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

MISSING = object()  # no value to show: None is a value


class MLExperimentError(Exception):
    """The root: catch this to catch everything that this package raises on purpose."""


@dataclass(frozen=True)
class Place:
    """Where something was written: a file and a line, counted from 1."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in an experiment.

    Attributes:
        what: the mistake, in one clause.
        where: file and line.
        key: the dotted key in the experiment, such as `steps.fit.inputs.train`.
        value: what was written there; MISSING where there is nothing to show.
        expected: what would have been right.
        hint: what to do.
    """

    what: str
    where: Place | None = None
    key: str | None = None
    value: object = MISSING
    expected: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        head = ": ".join(str(part) for part in (self.where, self.key) if part)
        lines = [f"{head}: {self.what}" if head else self.what]
        if self.value is not MISSING:
            lines.append(f"    value:    {shown(self.value)}")
        if self.expected:
            lines.append(f"    expected: {self.expected}")
        if self.hint:
            lines.append(f"    to do:    {self.hint}")
        return "\n".join(lines)

    def brief(self) -> str:
        """On one line, without the place."""
        value = "" if self.value is MISSING else f" ({shown(self.value)})"
        return f"{self.what}{value}" + (f"; {self.hint}" if self.hint else "")


class UserError(MLExperimentError):
    """One mistake that the user can mend."""

    def __init__(
        self,
        what: str,
        *,
        where: str | Place | None = None,
        value: object = MISSING,
        expected: str | None = None,
        hint: str | None = None,
    ) -> None:
        place = Place(where) if isinstance(where, str) else where
        self.problem = Problem(what, place, None, value, expected, hint)
        super().__init__(str(self.problem))


class ExperimentError(MLExperimentError):
    """Everything that is wrong with an experiment, in the order of file and line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        unique = {str(problem): problem for problem in problems}  # values need not be hashable
        self.problems = tuple(sorted(unique.values(), key=_position))
        count = len(self.problems)
        head = "1 problem" if count == 1 else f"{count} problems"
        super().__init__("\n".join([f"{head} in the experiment:", *map(str, self.problems)]))


def _position(problem: Problem) -> tuple[str, int]:
    place = problem.where
    return (place.file, place.line or 0) if place else ("", 0)


def shown(value: object, limit: int = 120) -> str:
    """A value on one line of at most `limit` characters, for a message."""
    text = value if isinstance(value, str) else repr(value)
    text = text.encode("unicode_escape").decode() if not text.isprintable() else text
    return text if len(text) <= limit else text[: limit - 1] + "…"


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name that `name` was probably meant to be, or None."""
    found = difflib.get_close_matches(name, sorted(set(known)), n=1, cutoff=cutoff)
    return found[0] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint that names the nearest known name, or all of them where none is near."""
    names = sorted(set(known))
    if not names:
        return None
    near = nearest(name, names)
    if near:
        return f"did you mean {near}?"
    listed = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"there is: {listed}"
