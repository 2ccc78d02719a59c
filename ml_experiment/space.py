"""The search space of a study: what each parameter may be, and in which order they are drawn.

    C: {float: [1.0e-3, 1.0e+3], log: true}     depth: {int: [2, 10], step: 2}
    kernel: [rbf, poly]                         degree: {int: [2, 5], when: {kernel: poly}}
    solver: {choice: [a, b], when: …}           tol: 1.0e-4  (fixed)
    loguniform(a, b), uniform(a, b), randint(a, b), range(a, b, step), choice([…]), as texts

A space is asked sorted by name, a conditional parameter behind its parents, so that the order in
which it was written changes nothing.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ml_experiment.errors import did_you_mean
from ml_experiment.hashing import canonical

_OTHER = ["a value that no condition names"]

Kind = Literal["float", "int", "choice", "fixed"]


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Attributes:
        low, high: both are possible; of a float or int.
        step: the distance of neighbours, None where there is none.
        choices: of a choice; of a fixed value that one.
        when: parent -> the values with which this parameter exists; all parents have to agree.
    """

    name: str
    kind: Kind
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    choices: tuple[Any, ...] = ()
    when: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    @property
    def size(self) -> int | None:
        """How many values it has; None where they cannot be counted."""
        if self.kind in ("choice", "fixed"):
            return len(self.choices)
        if self.kind == "int":
            return (int(self.high) - int(self.low)) // int(self.step or 1) + 1
        if self.step is None:
            return None
        return math.floor((self.high - self.low) / self.step + 1e-9) + 1

    @property
    def first(self) -> Any:
        """One of its values."""
        return self.choices[0] if self.choices else self.low

    def values(self) -> Iterator[Any]:
        """All its values, where they can be counted: there may be more than memory holds."""
        if self.choices:
            yield from self.choices
        else:
            step = self.step or 1
            yield from (self.low + index * step for index in range(self.size or 0))

    def has(self, value: Any) -> bool:
        """Whether it can be that."""
        if self.choices:
            return any(_equal(value, choice) for choice in self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if not self.low <= value <= self.high:
            return False
        step = self.step or (1 if self.kind == "int" else None)
        if step is None:
            return True
        return abs(value - self.low - round((value - self.low) / step) * step) < 1e-9


class Mistake(NamedTuple):
    """Something that is wrong with a space: below which key, what, and what would be right."""

    path: tuple[str, ...]
    what: str
    value: Any
    expected: str | None = None
    hint: str | None = None


def parse(space: Mapping[str, Any]) -> tuple[tuple[Parameter, ...], list[Mistake]]:
    """The parameters in the order in which they are asked, and everything that is wrong."""
    mistakes: list[Mistake] = []
    found: dict[str, Parameter] = {}
    for name, declared in space.items():
        try:
            found[name] = _parameter(name, declared)
        except _WrongError as error:
            path = (name, *error.path)
            mistakes.append(Mistake(path, error.what, error.value, error.expected, error.hint))
    for parameter in found.values():
        mistakes += _parents(parameter, found, space)
    if not space:
        mistakes.append(Mistake((), "the space is empty", {}, "a parameter at least"))
    ordered, circle = _ordered(found)
    if circle:
        names = ", ".join(circle)
        mistakes.append(Mistake((circle[0], "when"), "a circle of conditions", names))
    return ordered, mistakes


def draw(parameters: tuple[Parameter, ...], value_of: Callable[[Parameter], Any]) -> dict[str, Any]:
    """One point of the space. `value_of` is asked for each parameter that exists there."""
    point: dict[str, Any] = {}
    for parameter in parameters:
        if exists(parameter, point):
            fixed = parameter.kind == "fixed"
            point[parameter.name] = parameter.choices[0] if fixed else value_of(parameter)
    return point


def count(parameters: tuple[Parameter, ...], point: Mapping[str, Any] | None = None) -> int | None:
    """How many points there are; None where they cannot be counted."""
    if not parameters:
        return 1
    first, *others = parameters
    held = point or {}
    rest = tuple(others)
    if not exists(first, held):
        return count(rest, held)
    if first.size is None:
        return None
    if not any(first.name == parent for other in rest for parent, _ in other.when):
        below = count(rest, held)  # its value changes nothing
        return None if below is None else first.size * below
    own = (float,) if first.kind == "float" else (int,)
    named = {
        canonical(value): value
        for other in rest
        for parent, values in other.when
        for value in values
        if parent == first.name and first.has(value) and (first.choices or type(value) in own)
    }
    total = 0
    alike = _OTHER, first.size - len(named)  # all that no condition names
    for value, times in [*((value, 1) for value in named.values()), alike]:
        below = count(rest, {**held, first.name: value}) if times else 0
        if below is None:
            return None
        total += times * below
    return total


def exists(parameter: Parameter, point: Mapping[str, Any]) -> bool:
    """Whether a parameter exists, given those before it."""
    return all(
        parent in point and any(_equal(point[parent], value) for value in values)
        for parent, values in parameter.when
    )


def _equal(one: Any, other: Any) -> bool:
    """1, 1.0 and true are three values, as they are to a program."""
    return canonical(one) == canonical(other)


class _WrongError(Exception):
    def __init__(
        self,
        what: str,
        value: Any,
        *path: str,
        expected: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what, self.value, self.path, self.expected, self.hint = (
            what, value, path, expected, hint,
        )  # fmt: skip


_FORMS = "{float: [low, high]}, {int: [low, high]}, a list of choices, or a value"
_KEYS = ("choice", "float", "int", "log", "step", "value", "when")
_FUNCTIONS = ("choice", "loguniform", "randint", "range", "uniform")
_CALL = re.compile(rf"({'|'.join(_FUNCTIONS)})\s*\((.*)\)\s*", re.DOTALL)
_LIKE_CALL = re.compile(r"([A-Za-z_]\w*)\s*\(")


def _parameter(name: str, declared: Any) -> Parameter:
    if isinstance(declared, str) and (call := _CALL.fullmatch(declared)):
        declared = _shorthand(call[1], call[2], declared)
    elif isinstance(declared, str) and (call := _LIKE_CALL.match(declared)):
        hint = did_you_mean(call[1].lower(), _FUNCTIONS)
        hint = f"{hint}; " if hint else ""
        raise _WrongError(
            "looks like a function, and is none that a space has",
            declared,
            expected="a closed " + ", ".join(f"{name}(…)" for name in _FUNCTIONS),
            hint=f"{hint}a text is written {{value: {declared!r}}}",
        )
    if isinstance(declared, list | tuple):
        declared = {"choice": list(declared)}
    if not isinstance(declared, Mapping):
        return Parameter(name, "fixed", choices=(declared,))
    unknown = next((key for key in declared if key not in _KEYS), None)
    if unknown is not None:
        hint = did_you_mean(str(unknown), _KEYS)
        raise _WrongError(f"unknown key: {unknown}", declared[unknown], unknown, hint=hint)
    kinds = [key for key in ("float", "int", "choice", "value") if key in declared]
    if len(kinds) != 1:
        raise _WrongError("one kind of parameter is needed", dict(declared), expected=_FORMS)
    when = _when(declared.get("when", {}))
    if kinds[0] in ("choice", "value"):
        extra = next((key for key in ("log", "step") if key in declared), None)
        if extra:
            raise _WrongError(f"{extra} is for float and int", declared[extra], extra)
        return _choice(name, kinds[0], declared[kinds[0]], when)
    return _number(name, kinds[0], declared, when)


def _choice(name: str, kind: str, value: Any, when: tuple[Any, ...]) -> Parameter:
    if kind == "value":
        return Parameter(name, "fixed", choices=(value,), when=when)
    if not isinstance(value, list | tuple) or not value:
        raise _WrongError("no choices", value, expected="a list of values")
    texts = [canonical(choice) for choice in value]
    if len(set(texts)) < len(texts):
        raise _WrongError("a choice is there twice", value)
    return Parameter(name, "choice", choices=tuple(value), when=when)


def _number(name: str, kind: str, declared: Mapping[str, Any], when: tuple[Any, ...]) -> Parameter:
    bounds, whole = declared[kind], kind == "int"
    expected = "two whole numbers" if whole else "two numbers"
    if not isinstance(bounds, list | tuple) or len(bounds) != 2:
        raise _WrongError("not two bounds", bounds, kind, expected=expected)
    if not all(_is_number(bound, whole=whole) for bound in bounds):
        raise _WrongError("a bound is no number", bounds, kind, expected=expected)
    low, high = bounds
    if not math.isfinite(high - low):
        raise _WrongError("the range is wider than a float can be", bounds, kind)
    if low > high:
        raise _WrongError("the bounds are the wrong way round", bounds, kind)
    log, step = declared.get("log", False), declared.get("step")
    if not isinstance(log, bool):
        raise _WrongError("neither true nor false", log, "log")
    if step is not None and (not _is_number(step, whole=whole) or step <= 0):
        raise _WrongError("no step", step, "step", expected="a number above 0")
    if step is not None and low < high and step > high - low:
        raise _WrongError("the step is longer than the range", step, "step")
    if log and step is not None:
        raise _WrongError("log and step exclude one another", step, "step")
    if log and low <= 0:
        raise _WrongError("log of a number that is not above 0", low, kind)
    if whole:
        return Parameter(name, "int", int(low), int(high), log, step, (), when)
    return Parameter(name, "float", float(low), float(high), log, step, (), when)


def _is_number(value: Any, *, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value) and (isinstance(value, int) or not whole)
    except OverflowError:  # whole numbers may be larger than any float
        return False


def _when(declared: Any) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    if not isinstance(declared, Mapping):
        raise _WrongError("no condition", declared, "when", expected="{parameter: value}")
    empty = next((parent for parent, values in declared.items() if values in ([], ())), None)
    if empty is not None:
        raise _WrongError("no values", [], "when", str(empty), expected="a value, or some")
    return tuple(
        (str(parent), tuple(values) if isinstance(values, list | tuple) else (values,))
        for parent, values in sorted(declared.items())
    )


def _shorthand(function: str, inside: str, text: str) -> dict[str, Any]:
    """Of `loguniform(1e-3, 10)` the long form. Only literals are read; nothing is run."""
    try:
        arguments = ast.literal_eval(f"({inside},)")
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        hint = "texts have quotes: choice(['a', 'b'])"
        raise _WrongError("cannot be read", text, expected="numbers or a list", hint=hint) from None
    if function == "choice" and len(arguments) == 1:
        return {"choice": arguments[0]}
    if function == "range" and len(arguments) in (2, 3):
        step = arguments[2] if len(arguments) == 3 else 1
        whole = all(isinstance(a, int) for a in arguments)
        return {"int" if whole else "float": list(arguments[:2]), "step": step}
    if function in ("uniform", "loguniform", "randint") and len(arguments) == 2:
        kind = "int" if function == "randint" else "float"
        return {kind: list(arguments), "log": function == "loguniform"}
    raise _WrongError("not as many arguments as it takes", text)


def _parents(
    parameter: Parameter, found: Mapping[str, Parameter], space: Mapping[str, Any]
) -> Iterator[Mistake]:
    for parent, values in parameter.when:
        path = (parameter.name, "when", parent)
        if parent not in space:
            hint = did_you_mean(parent, space)
            yield Mistake(path, "no such parameter", parent, hint=hint)
        elif parent in found:
            of = found[parent]
            known = canonical(of.choices) if of.choices else f"from {of.low:g} to {of.high:g}"
            for value in values:
                if not of.has(value):
                    yield Mistake(path, f"{parent} is never that", value, expected=known)


def _ordered(found: Mapping[str, Parameter]) -> tuple[tuple[Parameter, ...], list[str]]:
    """By name, parents first; and the names that wait for one another."""
    waiting = dict(sorted(found.items()))
    done: dict[str, Parameter] = {}
    while waiting:
        ready = [
            name
            for name, parameter in waiting.items()
            if all(parent in done or parent not in found for parent, _ in parameter.when)
        ]
        if not ready:
            return tuple(done.values()), list(waiting)
        done[ready[0]] = waiting.pop(ready[0])
    return tuple(done.values()), []
