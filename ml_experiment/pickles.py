"""What a pickle would load, read from its opcodes; nothing of it is executed, ever."""

from __future__ import annotations

import contextlib
import pickletools
from collections.abc import Iterator
from typing import IO, NamedTuple

MOST = 5_000_000  # opcodes
ARRAY = "joblib.numpy_pickle NumpyArrayWrapper"  # behind its state come raw bytes, no opcodes
# Modules and functions by which a pickle runs commands or other code when it is loaded.
DANGEROUS = {"os", "posix", "nt", "subprocess", "sys", "shutil", "socket", "runpy", "importlib", "pty",
             "ctypes", "webbrowser", "asyncio", "multiprocessing"}  # fmt: skip
WHOLE = {"code", "commands"}  # the same, but folders of projects have these names too
CALLS = {"REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"}  # opcodes that run what is named
FUNCTIONS = {
    f"{module} {name}"
    for module in ("builtins", "__builtin__")
    for name in ("eval", "exec", "compile", "open", "__import__", "getattr", "input", "breakpoint")
}


class Scanned(NamedTuple):
    """What a pickle names.

    Attributes:
        names: `module name` of every class and function that it would import, in order, each once.
        whole: whether all of it was read: joblib puts arrays between opcodes.
        calls: whether anything that it names would be called.
    """

    names: tuple[str, ...]
    whole: bool
    calls: bool

    @property
    def suspicious(self) -> list[str]:
        """Those that no model needs, and by which code is run."""
        return [name for name in self.names if _is_suspicious(name)]


def _is_suspicious(name: str) -> bool:
    module, _, attribute = name.partition(" ")
    return (
        name in FUNCTIONS
        or module in WHOLE
        or not DANGEROUS.isdisjoint((module.partition(".")[0], *attribute.split(".")[:-1]))
        or "?" in name  # it is put together while the pickle is loaded
    )


def scan(stream: IO[bytes]) -> Scanned:
    """Read the opcodes of a pickle until its end, or until they end."""
    found: dict[str, None] = {}
    opcodes: set[str] = set()
    with contextlib.suppress(
        Exception
    ):  # whatever the bytes are, they are no opcodes from there on
        found.update((name, None) for name in _names(stream, opcodes))
    return Scanned(tuple(found), "STOP" in opcodes, not CALLS.isdisjoint(opcodes))


def _names(stream: IO[bytes], opcodes: set[str]) -> Iterator[str]:
    """Each name; the opcodes that were met go into `opcodes`."""
    strings: list[str | None] = []  # what was pushed last, where that is text
    memo: dict[int, str | None] = {}
    last = ""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        code = opcode.name
        opcodes.add(code)
        if code in ("GLOBAL", "INST"):
            last = str(argument)
            strings.append(None)
            yield last
        elif code == "STACK_GLOBAL":
            module, name = strings[-2:] if len(strings) > 1 else (None, None)
            last = f"{module or '?'} {name or '?'}"
            strings.append(None)
            yield last
        elif code == "MEMOIZE":
            memo[len(memo)] = strings[-1] if strings else None
        elif "PUT" in code:
            memo[int(argument or 0)] = strings[-1] if strings else None
        elif "GET" in code:
            strings.append(memo.get(int(argument or 0)))
        elif "UNICODE" in code or "STRING" in code:
            strings.append(str(argument))
        elif code == "STOP":
            return
        elif code not in ("PROTO", "FRAME", "MARK"):
            strings.append(None)
        if count > MOST or (code == "BUILD" and last == ARRAY):
            return
        if len(strings) > 10_000:
            del strings[:-10]
