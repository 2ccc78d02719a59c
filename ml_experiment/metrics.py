"""What a step writes as its metrics: a final value for each, and the curves that lead there.

Three forms: a JSON object (objects in it are joined with `/`, a list of numbers is a curve), a
table with a header (`.csv`, `.tsv`), and a folder that DVCLive wrote.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ml_experiment.errors import UserError, shown

MAX_SIZE = 64_000_000  # bytes: ten thousand metrics over hundreds of steps
STEPS = ("step", "epoch", "iteration")  # columns that count, the first that is there
TABLES = {".csv": ",", ".tsv": "\t"}
FEW = 5  # as many mistakes as a message lists

_OBJECT = 'a JSON object of names and numbers, such as {"accuracy": 0.93}'
_WORDS = {"true": 1.0, "false": 0.0}
_NOTHING = {"", "na"}  # R writes NA where there is no value


class Point(NamedTuple):
    """One value of a curve."""

    step: int
    value: float


@dataclass(frozen=True)
class Metrics:
    """What a metrics file says.

    Attributes:
        final: name -> value, in the file's order; the last of a curve where nothing else is said.
        curves: name -> points by increasing step, for the names that have more than one.
    """

    final: dict[str, float]
    curves: dict[str, tuple[Point, ...]]


def read(path: Path) -> Metrics:
    """The metrics in a file or folder.

    Raises:
        UserError: they cannot be read as such; it says all that is wrong with them.
    """
    reader, expected = _form(path)
    problems: list[str] = []
    try:
        found = reader(path, problems)
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        what = f"not a metrics file: {error}"
        raise UserError(what, where=str(path), expected=expected) from None
    if problems:
        more = [f"and {len(problems) - FEW} more"] if len(problems) > FEW else []
        what = "; ".join([*problems[:FEW], *more])
        raise UserError(what, where=str(path), expected=expected)
    return found


def find(paths: Sequence[Path]) -> Path | None:
    """The first of a job's outputs that looks like metrics, for rules that do not say."""
    return next((path for path in paths if _named_so(path) or _is_dvclive(path)), None)


def _named_so(path: Path) -> bool:
    return "metrics" in path.stem.lower() and path.suffix.lower() in {".json", *TABLES}


def _is_dvclive(folder: Path) -> bool:
    """Whether DVCLive made a folder: its summary is there, and something else of it."""
    others = (folder / "plots/metrics").is_dir() or (folder / "params.yaml").is_file()
    return others and (folder / "metrics.json").is_file()


def _form(path: Path) -> tuple[Callable[[Path, list[str]], Metrics], str]:
    """How a file or folder is read, and what is expected in it."""
    if path.is_dir():
        return _of_dvclive, "a folder that DVCLive writes: metrics.json, plots/metrics/NAME.tsv"
    if path.suffix.lower() in TABLES:
        return _of_table, "a line with the names of the columns, and lines of numbers"
    return _of_json, _OBJECT


# ---- JSON -------------------------------------------------------------------------------------


def _of_json(path: Path, problems: list[str]) -> Metrics:
    _check_size([path])
    return _of_object(_load(path), problems)


def _load(path: Path) -> dict[str, Any]:
    data = json.loads(path.read_text("utf-8-sig"))
    if not isinstance(data, dict):
        raise UserError("not a metrics file", where=str(path), value=data, expected=_OBJECT)
    return data


def _of_object(data: dict[str, Any], problems: list[str]) -> Metrics:
    made = Metrics({}, {})
    for name, value in _leaves(data):
        values = value if isinstance(value, list) else [value]
        wrong = [item for item in values if not _is_number(item)]
        if wrong:
            problems.append(f"the metric {name} is not a number: {shown(wrong[0], 40)}")
        elif name in made.final:
            problems.append(f"there are two metrics {name}")
        else:
            _add(made, name, [Point(*each) for each in enumerate(map(_plain, values))])
    return made


def _leaves(data: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{key}/")
        else:
            yield f"{above}{key}", value


def _is_number(value: Any) -> bool:
    """Whether it is a number that a float can hold: JSON has longer ones."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 10**308)


def _plain(value: float) -> float:
    return float(value) if isinstance(value, bool) else value


def _add(made: Metrics, name: str, points: Sequence[Point]) -> None:
    """A metric by its points; a final value that is there already stays."""
    if points:
        made.final.setdefault(name, points[-1].value)
    if len(points) > 1:
        made.curves[name] = tuple(points)


# ---- Tables -----------------------------------------------------------------------------------


def _of_table(path: Path, problems: list[str]) -> Metrics:
    _check_size([path])
    columns = _columns(path, problems)
    if any(column.text for column in columns) and not any(column.points for column in columns):
        problems.append("no column holds numbers")
    made = Metrics({}, {})
    for column in columns:
        _add(made, column.name, column.curve(problems))
    return made


def _columns(path: Path, problems: list[str]) -> list[_Column]:
    """All columns that have a name, without the one that counts the steps."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, delimiter=TABLES[path.suffix.lower()])
        header = [name.strip() for name in next(lines, [])]
        wrong = _wrong_header(header)
        if wrong:
            problems.append(wrong)
            return []
        counting = _step_column(header)
        columns = [_Column(name) for name in header]
        for number, row in enumerate(filter(None, lines)):
            if len(row) != len(header):
                cells = f"{len(row)} cells, the header has {len(header)}"
                problems.append(f"line {lines.line_num} has {cells}")
                continue
            step = number if counting is None else _whole(row[counting])
            if step is None:
                cell = shown(row[counting or 0], 40)
                problems.append(f"line {lines.line_num}: the step {cell!r} is no whole number")
                continue
            for column, cell in zip(columns, row, strict=True):
                column.add(step, cell, lines.line_num)
    named = [column for column in columns if column.name]  # pandas' index has no name
    return [column for column in named if counting is None or column is not columns[counting]]


def _wrong_header(header: list[str]) -> str | None:
    if not header:
        return "it has no line with the names of the columns"
    if all(_number(name) is not None for name in header):
        return f"its first line holds numbers in the place of names: {shown(header, 40)}"
    twice = [name for name in dict.fromkeys(header) if name and header.count(name) > 1]
    return f"there are two columns {twice[0]}" if twice else None


def _step_column(header: list[str]) -> int | None:
    names = [name.lower() for name in header]
    return next((names.index(name) for name in STEPS if name in names), None)


class _Column:
    """A column as it is read: numbers by step, and the first cell that is none.

    Where a step comes again, as after an interruption, its last number counts.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.points: dict[int, float] = {}
        self.text = ""

    def add(self, step: int, cell: str, line: int) -> None:
        value = _number(cell)
        if value is not None:
            self.points[step] = value
        elif not self.text and cell.strip().lower() not in _NOTHING:
            self.text = f"line {line}: the {self.name} {shown(cell, 40)!r} is no number"

    def curve(self, problems: list[str]) -> list[Point]:
        """Its points; none for a column of texts."""
        if self.points and self.text:
            problems.append(self.text)
        return [Point(*point) for point in sorted(self.points.items())]


def _number(cell: str) -> float | None:
    word = cell.strip().lower()
    if word in _WORDS:
        return _WORDS[word]
    try:
        return None if "_" in word else float(word)  # 2026_11 is a name
    except ValueError:
        return None


def _whole(cell: str) -> int | None:
    """A step: 3, and 3.0 as pandas writes it in a column with gaps."""
    value = _number(cell)
    if value is None or not value.is_integer():
        return None
    try:
        step = int(cell)
    except ValueError:
        step = int(value)
    return step if abs(step) < 2**63 else None


# ---- DVCLive ----------------------------------------------------------------------------------


def _of_dvclive(folder: Path, problems: list[str]) -> Metrics:
    """Its summary has the last values and its own step; each curve is a file by itself."""
    summary, plots = folder / "metrics.json", folder / "plots/metrics"
    files = sorted(plots.rglob("*.tsv"))
    has_summary = summary.is_file()
    if not has_summary and not files:
        raise ValueError("neither metrics.json nor plots/metrics is in the folder")
    _check_size([*([summary] if has_summary else []), *files])
    data = _load(summary) if has_summary else {}
    data.pop("step", None)
    made = _of_object(_numbers_of(data), problems)
    for file in files:
        name = file.relative_to(plots).with_suffix("").as_posix()
        inside: list[str] = []
        for column in _columns(file, inside):
            if column.name == file.stem:  # the other one is the time
                _add(made, name, column.curve(inside))
        problems += [f"{file.relative_to(folder)}: {what}" for what in inside]
    return made


def _numbers_of(data: dict[str, Any]) -> dict[str, Any]:
    """A summary without its texts. DVCLive writes what is not finite as text."""
    found: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, dict):
            found[name] = _numbers_of(value)
        elif not isinstance(value, str):
            found[name] = value
        elif (number := _number(value)) is not None:
            found[name] = number
    return found


def _check_size(files: Iterable[Path]) -> None:
    size = sum(file.stat().st_size for file in files)
    if size > MAX_SIZE:
        limit = f"at most {MAX_SIZE / 1e6:.0f} MB are read"
        raise ValueError(f"it has {size / 1e6:.1f} MB, and {limit}; write fewer steps")
