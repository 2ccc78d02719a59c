"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace a file by way of a temporary one; its folder is made.

    `durable` waits until the disk has it. What can be computed again need not wait.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.parent / f".{secrets.token_hex(8)}.writing"
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)  # less the umask
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def write_if_changed(path: Path, text: str, *, durable: bool = True) -> bool:
    """Write only what differs, so that an unchanged file keeps its time. Whether it was written."""
    try:
        if path.read_bytes() == text.encode():
            return False
    except OSError:
        pass
    write(path, text, durable=durable)
    return True
