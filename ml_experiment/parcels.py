"""Files that travel between workspaces: named by their content, and written whole or not at all."""

from __future__ import annotations

import glob
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from ml_experiment.errors import UserError
from ml_experiment.hashing import MARK, of_file, of_text

CHUNK = 16 << 20  # bytes of a file that are in memory at once
MAX_CODE_FILE = 1 << 20  # more than this is data, not code
_NEVER = frozenset({"__pycache__", "node_modules", "venv"})

Kind = Literal["file", "folder", "link"]


class Item(NamedTuple):
    """One file, empty folder or link. The digest of a link is where it points to."""

    path: str
    kind: Kind
    digest: str
    mode: int


class Piece(NamedTuple):
    """A part of an item on its way; `more` where another one of the same file follows."""

    path: str
    kind: Kind
    mode: int
    data: bytes
    more: bool = False


@dataclass
class Digests:
    """MD5 of files, kept while a file's number, size and time are the same."""

    known: dict[str, tuple[tuple[int, int, int], str]] = field(default_factory=dict)

    def of(self, path: str) -> str:
        """The digest of one file. Raises OSError where it cannot be read."""
        status = os.stat(path)
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
        known = self.known.get(path)
        if known is None or known[0] != stamp:
            known = self.known[path] = (stamp, of_file(path))
        return known[1]


def items(folder: str, path: str, digests: Digests | None) -> Iterator[Item]:
    """All that is at a path of a workspace; nothing where nothing is there.

    Without `digests` nobody wants to know them.
    """
    whole = os.path.join(folder, path)
    if os.path.isdir(whole):
        empty = True
        for name in sorted(os.listdir(whole)):
            if name != MARK:
                empty = False
                inner = os.path.join(path, name)
                if os.path.islink(os.path.join(whole, name)):
                    yield _of_link(folder, inner, digests)
                else:
                    yield from items(folder, inner, digests)
        if empty:
            yield Item(path, "folder", "", 0o777)
    elif os.path.isfile(whole):
        yield _of_one(whole, path, digests)


def _of_link(folder: str, path: str, digests: Digests | None) -> Item:
    """The file that a link in a folder leads to; of another link itself, which may lead anywhere."""
    whole = os.path.join(folder, path)
    if os.path.isfile(whole):
        return _of_one(whole, path, digests)
    return Item(path, "link", os.readlink(whole), 0o777)


def _of_one(whole: str, path: str, digests: Digests | None) -> Item:
    digest = "" if digests is None else digests.of(whole)
    return Item(path, "file", digest, os.stat(whole).st_mode & 0o777)


def pieces(folder: str, paths: Iterable[str]) -> Iterator[Piece]:
    """All that is at some paths, patterns among them, in pieces of bounded size."""
    for pattern in paths:
        found = sorted(glob.glob(pattern, root_dir=folder, include_hidden=True))
        for path in found:
            for item in items(folder, path, None):
                if item.kind == "file":
                    yield from _of_file(folder, item)
                else:
                    yield Piece(item.path, item.kind, item.mode, item.digest.encode())


def _of_file(folder: str, item: Item) -> Iterator[Piece]:
    with open(os.path.join(folder, item.path), "rb") as file:
        data = file.read(CHUNK)
        while following := file.read(CHUNK) if len(data) == CHUNK else b"":
            yield Piece(item.path, "file", item.mode, data, more=True)
            data = following
        yield Piece(item.path, "file", item.mode, data)


def chunks(path: str) -> Iterator[bytes]:
    """A file's bytes, at least one chunk."""
    return (piece.data for piece in _of_file("", Item(path, "file", "", 0)))


def remove(path: str) -> None:
    """Remove what is at a path, if anything is."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        Path(path).unlink(missing_ok=True)


class Unpacking:
    """Pieces being written into a workspace; what has come is put in its place by `done`."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._written: dict[str, tuple[str, int]] = {}
        self._others: list[Piece] = []
        self._open: dict[str, str] = {}

    def take(self, piece: Piece) -> None:
        """Write one piece beside the place of its file."""
        if piece.kind != "file":
            self._others.append(piece)
            return
        target = os.path.join(self.folder, piece.path)
        name = self._open.pop(piece.path, None)
        if name is None:
            os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
            name = os.path.join(os.path.dirname(target), f".{secrets.token_hex(8)}.writing")
        with open(name, "ab") as file:
            file.write(piece.data)
        if piece.more:
            self._open[piece.path] = name
        else:
            os.chmod(name, piece.mode)
            self._written[target] = (name, piece.mode)

    def done(self) -> None:
        """Put everything in its place."""
        for target, (name, _) in self._written.items():
            os.replace(name, target)
        self._written.clear()
        for piece in self._others:
            target = os.path.join(self.folder, piece.path)
            if piece.kind == "folder":
                os.makedirs(target, exist_ok=True)
            elif not os.path.lexists(target):
                os.makedirs(os.path.dirname(target), exist_ok=True)
                os.symlink(piece.data.decode(), target)
        self._others.clear()

    def undo(self) -> None:
        """Remove what has come."""
        for name in [*self._open.values(), *(name for name, _ in self._written.values())]:
            Path(name).unlink(missing_ok=True)


@dataclass
class Held:
    """What a workspace on a node holds of the contents that were asked for.

    Args:
        folder: the workspace.
        notes: a folder for what is known of its files.
    """

    folder: str
    notes: str

    def lacks(self, item: Item) -> bool:
        """Whether it has to be fetched."""
        target = os.path.join(self.folder, item.path)
        if item.kind == "folder":
            return not os.path.isdir(target)
        if item.kind == "link":
            return not os.path.lexists(target)
        try:
            known = Path(self._note(item.path)).read_text("ascii")
            return known != f"{item.digest} {_stamp(target)}"
        except OSError:
            return True

    def keep(self, item: Item) -> None:
        """Note that it has been fetched, or made here."""
        if item.kind == "file":
            os.makedirs(self.notes, exist_ok=True)
            note = self._note(item.path)
            stamp = _stamp(os.path.join(self.folder, item.path))
            Path(f"{note}.{os.getpid()}").write_text(f"{item.digest} {stamp}", "ascii")
            os.replace(f"{note}.{os.getpid()}", note)

    def write(self, item: Item, fetch: Callable[[Item], Iterable[bytes]]) -> None:
        """Put an item into the workspace."""
        unpacking = Unpacking(self.folder)
        try:
            if item.kind == "file":
                for data in fetch(item):
                    unpacking.take(Piece(item.path, "file", item.mode, data, more=True))
                unpacking.take(Piece(item.path, "file", item.mode, b""))
            else:
                unpacking.take(Piece(item.path, item.kind, item.mode, item.digest.encode()))
            unpacking.done()
        finally:
            unpacking.undo()
        self.keep(item)

    def _note(self, path: str) -> str:
        return os.path.join(self.notes, of_text(path))


def _stamp(path: str) -> str:
    status = os.stat(path)
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns}"


def code(folder: str, made: Iterable[str], most: int, digests: Digests) -> list[Item]:
    """The code of a workspace: what any of its jobs may read without declaring it.

    Every file of at most 1 MiB that git knows or would take (without git: that is not hidden), but
    for what jobs make.

    Args:
        folder: the workspace.
        made: the outputs and logs of jobs, relative to it.
        most: bytes of all of it.
        digests: to be added to.

    Raises:
        UserError: it is more than that.
    """
    outputs = {path.rstrip("/") for path in made}
    found, size = [], 0
    for path in _of_git(folder) if os.path.exists(os.path.join(folder, ".git")) else _of(folder):
        whole = os.path.join(folder, path)
        above = [path, *(str(parent) for parent in Path(path).parents)]
        if not os.path.isfile(whole) or not outputs.isdisjoint(above):
            continue
        status = os.stat(whole)
        if status.st_size <= MAX_CODE_FILE:
            size += status.st_size
            found.append(Item(path, "file", digests.of(whole), status.st_mode & 0o777))
    if size > most:
        raise UserError(
            f"the code of {folder} has {size / 2**20:.0f} MiB, which every node would have to get",
            expected=f"at most {most / 2**20:.0f} MiB",
            hint="have git ignore what is no code, or declare files that jobs read as their inputs",
        )
    return found


def _of_git(folder: str) -> list[str]:
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return list(_of(folder))
    return sorted({os.fsdecode(name) for name in done.stdout.split(b"\0") if name})


def _of(folder: str) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(n for n in folders if n not in _NEVER and not n.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield os.path.relpath(os.path.join(parent, name), folder)
