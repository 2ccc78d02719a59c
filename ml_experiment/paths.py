"""Values and names as parts of paths."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from ml_experiment.model import Scalar
from ml_experiment.placeholders import as_text

MAX_NAME = 200  # bytes: file systems take 255, temporary names need some


def slug(value: Scalar) -> str:
    """A value as a part of a path: readable, safe in a shell and on any file system, unique."""
    text = as_text(value)
    if text.isascii() and _PLAIN.fullmatch(text) and text.strip("."):
        return text
    safe = "".join(c if c.isalnum() or c in "._+-" else quote(c, safe="") for c in text)
    if not safe.strip("."):  # "", "." and ".." would be other folders
        return safe.replace(".", "%2E") or "%"
    return safe


_PLAIN = re.compile(r"[A-Za-z0-9_+.-]+")  # most values: read without a loop


def folded(name: str) -> str:
    """Equal for two names that are one file where the file system does not know capitals."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def label(slugs: Mapping[str, str]) -> str:
    """The folder of a combination, such as `method=forest,size=3`."""
    return ",".join(f"{axis}={text}" for axis, text in slugs.items())


def file_problem(file: str) -> str | None:
    """What is wrong with the name of a file that a job writes, or None."""
    if not file.isprintable() or re.search(r"[{}]", file):
        return "a name without { or }, line breaks and other invisible characters"
    if any(len(part.encode()) > MAX_NAME for part in file.split("/")):
        return f"names of at most {MAX_NAME} bytes"
    if os.path.isabs(file) or ".." in Path(file).parts:
        return "a name inside the step's own folder: not absolute, without .."
    if os.path.normpath(file) != file.removesuffix("/") or file in {"", ".", "/"}:
        return "a plain file name, or folder/name; a folder's name ends with one /"
    return None
