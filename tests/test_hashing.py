"""Digests by DVC's rules."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ml_experiment import hashing


def test_a_file_is_the_md5_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"a\r\n\0")
    assert hashing.of_path(tmp_path / "f") == hashlib.md5(b"a\r\n\0").hexdigest()
    assert hashing.of_path(tmp_path / "none") is None
    os.symlink("none", tmp_path / "broken")
    assert hashing.of_path(tmp_path / "broken") is None


def test_a_folder_is_the_md5_of_its_listing(tmp_path: Path) -> None:
    files = {"b/c.txt": b"1", "b.txt": b"2", "a": b"", "b-": b"3", "é ü": b"4", "z/y/x": b"5"}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "empty").mkdir()
    (tmp_path / ".snakemake_timestamp").write_text("")
    listing = [{"md5": hashlib.md5(c).hexdigest(), "relpath": n} for n, c in sorted(files.items())]
    digest = hashlib.md5(json.dumps(listing, sort_keys=True).encode()).hexdigest()
    assert hashing.of_path(tmp_path) == f"{digest}.dir"
    # The same, written out, so that a change of the rule cannot hide in the test.
    assert listing[0]["relpath"] == "a"
    (tmp_path / "a").write_bytes(b"x")
    assert hashing.of_folder(tmp_path) != f"{digest}.dir"


def test_a_golden_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1\n")
    text = '[{"md5": "b026324c6904b2a9cb4b88d6d61c81d1", "relpath": "a"}]'
    assert hashing.of_folder(f"{tmp_path}/") == hashlib.md5(text.encode()).hexdigest() + ".dir"


@given(st.dictionaries(st.text(), st.integers() | st.text()))
def test_canonical(data: dict[str, object]) -> None:
    text = hashing.canonical(data)
    assert json.loads(text) == data
    assert hashing.canonical(dict(reversed(data.items()))) == text


def test_canonical_golden() -> None:
    assert (
        hashing.canonical({"b": (1, 1.0, True, None), "a": "é"})
        == '{"a":"é","b":[1,1.0,true,null]}'
    )
    assert hashing.of_text("é") == hashlib.md5("é".encode()).hexdigest()
