"""A step as YAML text that every reader, of YAML 1.1 or 1.2, takes for the same data."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

from ml_experiment.infer.step import Proposal

WIDTH: Final = 88
_PLAIN: Final = re.compile(r"(?:[A-Za-z_]|\.{0,2}/)[A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*")
# Words that a reader of YAML 1.1 or 1.2 takes for something else than a string. Numbers, dates
# and whatever begins with a sign are outside of _PLAIN.
_WORDS: Final = frozenset(["null", "true", "false", "yes", "no", "on", "off", "y", "n"])
_COMMAND: Final = re.compile(r"(?:[A-Za-z_]|\.{0,2}/)[^\n\t]*[^\s:]")


def render_step(proposal: Proposal, indent: int = 0, unit: int = 2) -> str:
    """The YAML text of a step, its name first, each line ended by a newline.

    Args:
        proposal: what to write; `infer_step` leaves out what no file can say (`values.writable`).
        indent: the column of the step's name.
        unit: how much deeper each level is.
    """
    lines = [f"{scalar(proposal.name)}:"]
    for key, part in proposal.data.items():
        if key == "run" and isinstance(part, str):
            lines += _run(part, indent + unit, unit)
        elif isinstance(part, Mapping):
            lines.append(" " * unit + f"{key}:")
            lines += [
                " " * 2 * unit + f"{scalar(name)}: {inline(item)}" for name, item in part.items()
            ]
        else:
            lines.append(" " * unit + f"{key}: {inline(part)}")
    return "".join(f"{' ' * indent}{line}\n" for line in lines)


def _run(command: str, indent: int, unit: int) -> list[str]:
    """The command: on one line where it fits, else folded, else quoted."""
    pad = " " * unit
    simple = _printable(command) and _COMMAND.fullmatch(command) and command == command.strip()
    if not simple or "  " in command:
        return [f"{pad}run: {_quoted(command)}"]
    plain = ": " not in command and " #" not in command and command.lower() not in _WORDS
    if plain and "{" not in command[:1] and indent + len("run: " + command) <= WIDTH:
        return [f"{pad}run: {command}"]
    broken = _broken(command, WIDTH - indent - unit)
    return [f"{pad}run: >-", *(pad * 2 + line for line in broken)]


def _broken(command: str, width: int) -> list[str]:
    """Break at spaces, an option and its value staying together where it can be."""
    pieces: list[str] = []
    for word in command.split(" "):
        after_option = bool(pieces) and pieces[-1].startswith("-") and " " not in pieces[-1]
        if after_option and not word.startswith("-"):
            pieces[-1] += f" {word}"
        else:
            pieces.append(word)
    lines = [pieces[0]]
    for piece in pieces[1:]:
        if len(lines[-1]) + 1 + len(piece) <= width:
            lines[-1] += f" {piece}"
        else:
            lines.append(piece)
    return lines


def inline(value: object) -> str:
    """A value on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(inline(item) for item in value)}]"
    if isinstance(value, Mapping):
        inside = ", ".join(f"{scalar(str(key))}: {inline(item)}" for key, item in value.items())
        return "{" + inside + "}"
    return scalar(str(value))


def _number(value: float) -> str:
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    text = repr(value)  # 1e-05: YAML 1.1 wants a dot before the exponent
    mantissa, exponent, power = text.partition("e")
    return text if not exponent or "." in mantissa else f"{mantissa}.0e{power}"


def scalar(text: str) -> str:
    """A string as YAML: plain where no reader could take it for something else."""
    return text if _PLAIN.fullmatch(text) and text.lower() not in _WORDS else _quoted(text)


def _printable(text: str) -> bool:
    return text.isprintable() and not any(0xD800 <= ord(char) <= 0xDFFF for char in text)


def _quoted(text: str) -> str:
    if _printable(text):
        return "'" + text.replace("'", "''") + "'"
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char == "\n":
        return "\\n"
    if char == "\t":
        return "\\t"
    if char.isprintable():
        return char
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
