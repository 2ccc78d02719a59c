"""A requirements.txt as pip reads it: what it asks for, the files that it names, and its options."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ml_experiment.errors import UserError

LONG = {
    "--requirement": "-r",
    "--constraint": "-c",
    "--editable": "-e",
    "--find-links": "-f",
}
NAMING = ("-r", "-c")
_ASIDE = ("-e", "--require-hashes")  # that ask for something, or are said anyway


@dataclass
class Listed:
    """What a requirements.txt comes to, with the files that it names.

    Attributes:
        files: itself, and these.
        asked: the lines that ask for a distribution.
        limits: those that only limit its version.
        options: the others, a line each, which say where distributions are had from.
    """

    files: list[Path] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)


def listed(file: Path) -> Listed:
    """Read a requirements.txt, and what it names by `-r` and `-c`.

    Raises:
        UserError: it names a file that is not in its folder: of what is elsewhere nobody would see
            that it has changed.
    """
    found = Listed()
    _read(file, file.parent, found.asked, found)
    return found


def _read(file: Path, folder: Path, lines: list[str], found: Listed) -> None:
    found.files.append(file)
    for line in joined(file):
        text = re.sub(r"(^|\s+)#.*$", "", line).strip()
        if text and not text.startswith("-"):
            lines.append(text)
            continue
        for option, value in _options(text, file):
            if option in NAMING:
                named = _named(file, folder, option, value)
                if named not in found.files:
                    _read(named, folder, found.limits if option == "-c" else found.asked, found)
            elif option not in _ASIDE:
                found.options.append(_told(file, option, value))


def _named(file: Path, folder: Path, option: str, value: str) -> Path:
    path = Path(os.path.normpath(file.parent / value))
    shown = f"{folder.parent.name}/{folder.name}"
    if path.is_relative_to(folder) and path.is_file():
        return path
    there = "is not in" if path.is_relative_to(folder) else "is outside of"
    hint = f"copy it into {shown}, where a change of it is seen"
    raise UserError(f"{option} {value} {there} {shown}", where=f"{shown}/{file.name}", hint=hint)


def _told(file: Path, option: str, value: str) -> str:
    """An option for a file elsewhere. What ${NAME} stands for is left to pip."""
    if option == "-f" and (file.parent / value).exists():
        value = str((file.parent / value).resolve())
    return shlex.join([option, value] if value else [option])


def _options(text: str, file: Path) -> Iterator[tuple[str, str]]:
    """The options in a line, each with its value, if it has one."""
    try:
        words: Sequence[str] = shlex.split(text)
    except ValueError as error:  # the line is not shown: it may have a password
        raise UserError(
            f"a line of options that pip cannot read: {error}", where=str(file)
        ) from None
    while words:
        (word, *words) = words
        option, _, value = (
            word.partition("=") if word.startswith("--") else (word[:2], "", word[2:])
        )
        if not value and words and not words[0].startswith("-"):
            (value, *words) = words
        yield LONG.get(option, option), value


def joined(file: Path) -> list[str]:
    """The lines of a file of requirements; one that goes on behind a backslash is one."""
    return file.read_text("utf-8", "replace").replace("\\\n", " ").splitlines()
