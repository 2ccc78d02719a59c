"""Names, file names and words of a command, made such that an experiment takes them."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final

from ml_experiment.paths import MAX_NAME, folded
from ml_experiment.plan import TABLES

RESERVED: Final = ("metrics", *TABLES)  # STEP.metrics and the like: made by ml-experiment itself
_NOT_DATA: Final = ("/dev/", "/proc/", "/tmp/", "/sys/")  # noqa: S108  (names, not opened)


def literal(word: str) -> str:
    """A word of the command: quoted for the shell, its braces doubled."""
    return shlex.quote(word).replace("{", "{{").replace("}", "}}")


def is_data(path: str) -> bool:
    """Whether a path that stands in a script is worth a name."""
    plain = path not in ("", ".", "..", "-") and not path.startswith(_NOT_DATA)
    return plain and path.isprintable() and "://" not in path and "*" not in path


def path_text(path: str) -> str:
    """A path as the experiment file writes it: `./data.csv` is `data.csv`."""
    return str(PurePosixPath(path)) if path and "://" not in path else path


def file_name(default: object, suffix: str) -> str:
    """The last part of a default path; with the usual suffix where it has none. Or ""."""
    if not isinstance(default, (str, PurePosixPath)):
        return ""
    name = PurePosixPath(default).name
    if name in ("", ".", "..", "-"):
        return ""
    name = "".join("_" if char in "{}\\" or not char.isprintable() else char for char in name)
    name = name if "." in name else name + suffix
    return name if len(name.encode()) <= MAX_NAME - 10 else ""  # `free` may add a number


def number(text: object) -> object:
    """A number that is written as text, as defaults of variables are; else the text."""
    for convert in (int, float):
        try:
            found = convert(str(text))
        except ValueError:
            continue
        if str(found) == text and math.isfinite(found):
            return found
    return text


def valid(key: str) -> str:
    """A valid name of an input, output or parameter."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", key)
    return re.sub(r"^[^A-Za-z]+", "", name) or "value"


def allowed(name: str, *, folder: bool) -> str:
    """A name for an output: no reference to it may mean something else."""
    return name + ("_dir" if folder else "_file") if name in RESERVED else name


def free(name: str, taken: Iterable[str]) -> str:
    """`name`, with a number before its extension where it is taken, in capitals or not."""
    held = {folded(item.rstrip("/")) for item in taken}
    stem, dot, rest = name.partition(".")
    count = 2
    while folded(name) in held:
        name = f"{stem}_{count}{dot}{rest}"
        count += 1
    return name
