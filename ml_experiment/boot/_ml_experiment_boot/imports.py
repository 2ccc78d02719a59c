"""What a program imported: distributions with versions, its own modules, and the rest.

`importlib.metadata.packages_distributions` reads everything that is installed. This reads the
names of the metadata folders beside what was imported, and their file lists only for a package
whose name is not its distribution's. What it has read it keeps: a warm server asks before it forks,
and its programs look at what they have imported besides.
"""

from __future__ import annotations

import functools
import itertools
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

_INSTALLED = (os.sep + "site-packages" + os.sep, os.sep + "dist-packages" + os.sep)
_STANDARD = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_SPEAKING = ("__hello__", "antigravity", "this")
_BOOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class Metadata:
    """One `*.dist-info` or `*.egg-info`: name as in PEP 503, version, and where it is."""

    def __init__(self, folder: str, entry: str) -> None:
        name, _, version = entry.rpartition(".")[0].partition("-")
        self.path = os.path.join(folder, entry)
        self.name = normalised(name)
        self.version = version.partition("-py")[0] or None

    def provides(self, unit: str) -> bool:
        """Whether its file list, or its list of top-level names, has the module `unit`."""
        record = _bytes(os.path.join(self.path, "RECORD"))
        if record:
            start = b"\n" + unit.replace(".", "/").encode()
            text = b"\n" + record
            return start + b"/" in text or start + b"." in text
        names = _bytes(os.path.join(self.path, "top_level.txt")).split()
        return unit.partition(".")[0].encode() in names


def normalised(name: str) -> str:
    """A distribution's name as PEP 503 writes it."""
    for sign in "_.":
        name = name.replace(sign, "-")
    while "--" in name:
        name = name.replace("--", "-")
    return name.lower()


def mark() -> tuple[int, str]:
    """How many modules there are now, and which one was added last."""
    return len(sys.modules), next(reversed(sys.modules))


def added(since: tuple[int, str]) -> list[str] | None:
    """The names of the modules that were added since a mark; None where some are gone.

    Nothing else is touched: in a forked process each touch of an object copies memory.
    """
    count = len(sys.modules) - since[0]
    names = list(itertools.islice(reversed(sys.modules), max(count, 0) + 1))
    return names[:count] if names[count:] == [since[1]] else None


class Survey:
    """What modules are, by where their files are.

    Attributes:
        project: files below the program's folder that no environment holds, relative to it.
        units: of every other file's module the outermost package: folder to module to file.
        until: the mark of the modules that were looked at.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.project: set[str] = set()
        self.units: dict[str, dict[str, str]] = {}
        self.packages: set[str] = set()
        self.until: tuple[int, str] = (0, "")

    def look(self, names: Iterable[str]) -> None:
        """Add what some modules are, all that there are by now."""
        for name, file in _files(sorted(names)):  # packages precede their modules
            path, inside = _located(file, self.directory)
            if inside is not None:
                self.project.add(inside)
            elif path and name not in ("__main__", "__mp_main__") and not self._has(name):
                self.packages.add(name)
                folder, unit = _place(name, path)
                self.units.setdefault(folder, {})[unit] = path
        self.until = mark()

    def _has(self, name: str) -> bool:
        """Whether a package has been seen that the module is of."""
        while name:
            name = name.rpartition(".")[0]
            if name in self.packages:
                return True
        return False


_surveys: dict[str, Survey] = {}  # by directory; a warm server's are its programs' as well


def imported(directory: str) -> dict[str, Any]:
    """What `sys.modules` holds now, for a program that was started in `directory`.

    Returns:
        distributions: name to version (None where the metadata has none).
        project: the files below `directory` that no environment holds, relative to it.
        elsewhere: modules of no distribution that are outside of it, with their files.
    """
    survey = _surveys.get(directory)
    names = added(survey.until) if survey else None
    if survey is None or names is None:
        survey, names = Survey(directory), list(sys.modules)
        _surveys[directory] = survey
    survey.look({*names, "__main__"})  # which is not the server's any more
    distributions, elsewhere = _resolved(survey.units)
    return {
        "distributions": dict(sorted(distributions.items())),
        "elsewhere": dict(sorted(elsewhere.items())),
        "project": sorted(survey.project),
    }


def lasting(directory: str) -> list[str]:
    """The modules that programs like this one may find imported, in the order of their import.

    They are those of installed distributions and of Python, but for what speaks when it is
    imported, and for names that a module of the project's may want to have.

    Args:
        directory: where the program was started.
    """
    own = set(_SPEAKING)
    for folder in {directory, sys.path[0] if sys.path else directory}:
        try:
            own.update(entry.partition(".")[0] for entry in os.listdir(folder or "."))
        except OSError:  # noqa: PERF203
            pass
    found = []
    for name, module in sys.modules.copy().items():
        try:
            file = object.__getattribute__(module, "__dict__").get("__file__")
        except AttributeError:
            continue
        if not isinstance(file, str):
            continue
        standard = _is_standard(file) and name.partition(".")[0] not in own
        if standard or any(part in file for part in _INSTALLED):
            found.append(name)
    return found


def _files(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each of the modules that has a file, with it."""
    for name in names:
        try:  # not getattr: it would load a lazy module
            values = object.__getattribute__(sys.modules[name], "__dict__")
        except (AttributeError, KeyError):
            continue
        file = values.get("__file__")
        if name == "__main__" and file is None:  # taken away at the script's end
            file = getattr(values.get("__loader__"), "path", None)
        if isinstance(file, str) and file and not file.startswith("<"):
            yield name, file


def _located(file: str, directory: str) -> tuple[str, str | None]:
    """The path of a module's file, empty for one of Python's or ours; and the path in the project."""
    path = os.path.normpath(os.path.join(directory, file))
    if path.startswith(_BOOT) or _is_standard(path):
        return "", None
    inside = _inside(path, directory)
    return path, None if inside is None else inside.replace(os.sep, "/")


def _is_standard(file: str) -> bool:
    return file.startswith(_STANDARD) and not any(part in file for part in _INSTALLED)


def _inside(file: str, directory: str) -> str | None:
    """The path below `directory` of a file that no environment holds, or None."""
    if any(part in file for part in _INSTALLED):
        return None
    for path, base in ((file, directory), (os.path.realpath(file), os.path.realpath(directory))):
        below = os.path.join(base, "")
        if path.startswith(below):
            held = _environments(below)
            return None if path.startswith(held) else os.path.relpath(path, base)
    return None


def _environments(below: str) -> tuple[str, ...]:
    """The environments of this Python that are in the project's folder, such as `.venv`."""
    prefixes = {os.path.join(each, "") for each in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
    return tuple(each for each in prefixes if each.startswith(below) and each != below)


def _place(name: str, file: str) -> tuple[str, str]:
    """The folder of `sys.path` that holds a module's file, and the module as found from there."""
    for mark in _INSTALLED:
        before, found, inner = file.rpartition(mark)
        if found:
            fits = inner.startswith(name.replace(".", os.sep))
            # Some extension modules go by a bare name and live deep in a package.
            unit = name if fits else inner.partition(os.sep)[0].partition(".")[0]
            return before + mark.rstrip(os.sep), unit
    folder = os.path.dirname(file)
    for _ in range(name.count(".") + os.path.basename(file).startswith("__init__.")):
        folder = os.path.dirname(folder)
    return folder, name


def _resolved(
    units: dict[str, dict[str, str]],
) -> tuple[dict[str, str | None], dict[str, str]]:
    distributions: dict[str, str | None] = {}
    elsewhere: dict[str, str] = {}
    everything: dict[str, str | None] = {}
    for folder, modules in sorted(units.items()):
        try:
            changed = os.stat(folder).st_mtime_ns
        except OSError:
            changed = 0
        everything.update((each.name, each.version) for each in _metadata(folder, changed))
        for unit in sorted(modules):
            owner = _owner(unit, folder, changed)
            if owner is None:
                elsewhere[unit] = modules[unit]
            else:
                distributions[owner.name] = owner.version
    for unit in elsewhere:  # an editable install: metadata here, modules there
        name = normalised(unit)
        if name in everything:
            distributions[name] = everything[name]
    return distributions, elsewhere


@functools.lru_cache(maxsize=None)
def _metadata(folder: str, changed: int) -> tuple[Metadata, ...]:
    """What is installed in a folder; it is asked again when the folder has `changed`."""
    del changed
    try:
        entries = sorted(os.listdir(folder))
    except OSError:
        return ()
    ends = (".dist-info", ".egg-info")
    return tuple(Metadata(folder, entry) for entry in entries if entry.endswith(ends))


@functools.lru_cache(maxsize=None)
def _owner(unit: str, folder: str, changed: int) -> Metadata | None:
    """The distribution of a module: the one of the same name, or the first that lists it."""
    found = _metadata(folder, changed)
    name = normalised(unit)
    same = [each for each in found if each.name == name]
    if same:
        return same[-1]
    for each in found:
        if each.provides(unit):
            return each
    return None


def _bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError:
        return b""
