"""Files whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ml_experiment import atomic


def test_write(tmp_path: Path) -> None:
    file = tmp_path / "a" / ("é" * 100)
    atomic.write(file, "x\ny\r\n")
    assert file.read_bytes() == b"x\ny\r\n"
    mask = os.umask(0o027)
    try:
        atomic.write(file, "z", durable=False)
    finally:
        os.umask(mask)
    assert file.stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]


def test_a_failure_leaves_everything_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "f"
    atomic.write(file, "old")
    with pytest.raises(UnicodeEncodeError):
        atomic.write(file, "\ud800")
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]
    assert file.read_text() == "old"


def test_write_if_changed(tmp_path: Path) -> None:
    file = tmp_path / "f"
    assert atomic.write_if_changed(file, "x")
    before = file.stat()
    assert not atomic.write_if_changed(file, "x")
    assert file.stat().st_ino == before.st_ino
    assert atomic.write_if_changed(file, "y")
