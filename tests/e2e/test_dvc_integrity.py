"""Objects of DVC's cache whose bytes are not what their names say: refused, removed, fetched or rebuilt.

They have the mode and the time of a whole object, so that DVC believes them.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from ml_experiment import hashing
from tests.e2e.kept import CLEAN, call, clone, edit, seed_of, to_run

LARGE = "results/make/large.bin"
PARTS = "results/make/parts"
# What is corrupted -> the output that it is of, a file in the workspace that has its bytes.
OBJECTS = {
    "file": (LARGE, LARGE),
    "member": (PARTS, f"{PARTS}/large.bin"),
    "listing": (PARTS, ""),
}


def object_of(folder: Path, kind: str, within: str = ".dvc/cache") -> Path:
    output, file = OBJECTS[kind]
    lock = (folder / "dvc.lock").read_text()
    found = re.search(rf"path: {output}\n\s+hash: md5\n\s+md5: (\S+)", lock)
    assert found
    digest = hashing.of_file(folder / file) if kind == "member" else found[1]
    return folder / within / "files/md5" / digest[:2] / digest[2:]


def corrupt(file: Path) -> None:
    """Other bytes in the same file, with the same size, time and mode."""
    status = file.stat()
    file.chmod(0o644)
    with file.open("r+b") as stream:
        stream.seek(20)
        byte = stream.read(1)
        stream.seek(20)
        stream.write(bytes([byte[0] ^ 1]))
    os.utime(file, ns=(status.st_mtime_ns, status.st_mtime_ns))
    file.chmod(0o444)


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def objects_of(folder: Path, within: str = ".dvc/cache") -> dict[str, Path]:
    return {kind: object_of(folder, kind, within) for kind in OBJECTS}


@pytest.mark.parametrize("cache", ["copy", "hardlink", "symlink"])
def test_after_a_checkout_of_dvcs(lawful: Path, cache: str) -> None:
    """DVC puts such bytes into place without a word; a link into the cache has them already."""
    seed = seed_of(lawful)
    right = {kind: (lawful / OBJECTS[kind][1]).read_bytes() for kind in ("file", "member")}
    objects = objects_of(lawful)
    if cache not in ("hardlink", "symlink"):
        remove(lawful / LARGE)
        remove(lawful / PARTS)
    for kind in right:
        corrupt(objects[kind])
    call(lawful, "dvc", "checkout", "-q")
    assert CLEAN in call(lawful, "dvc", "status")
    for kind, before in right.items():
        assert (lawful / OBJECTS[kind][1]).read_bytes() != before
    assert "2 objects fetched" in call(lawful, "ml-experiment", "pull")
    for kind, before in right.items():
        assert (lawful / OBJECTS[kind][1]).read_bytes() == before
    assert "no fault found" in call(lawful, "ml-experiment", "fsck")
    assert "0 objects fetched" in call(lawful, "ml-experiment", "pull")
    assert seed_of(lawful) == seed
    assert to_run(lawful) == set()


@pytest.mark.parametrize("cache", ["symlink"])
def test_what_nobody_has_with_the_right_bytes_is_made_anew(lawful: Path) -> None:
    seed = seed_of(lawful)
    object_of(lawful, "file", "../remote").unlink()
    corrupt(object_of(lawful, "file"))
    told = call(lawful, "ml-experiment", "pull", code=1)
    assert f"{LARGE}: neither in the cache nor to be had from the remote" in told
    assert not os.path.lexists(lawful / LARGE)
    call(lawful, "dvc", "repro")
    assert seed_of(lawful) == seed
    assert "no fault found" in call(lawful, "ml-experiment", "fsck")


@pytest.mark.parametrize("cache", ["copy"])
@pytest.mark.parametrize("kind", OBJECTS)
def test_a_remote_with_other_bytes(lawful: Path, kind: str) -> None:
    """They are refused, each time, and the run makes what is lacking."""
    place = object_of(lawful, kind, "../remote")
    corrupt(place)
    other = clone(lawful, "other")
    output = OBJECTS[kind][0]
    gone: list[Path] = []
    for records in (1, 0):
        told = call(other, "ml-experiment", "pull", code=1 if kind == "listing" else 2)
        assert f"{records} records added" in told
        assert not (other / output).exists()
        assert not object_of(lawful, kind, "../other/.dvc/cache").exists()
        if kind == "listing":  # DVC itself does not take one that names objects that are not there
            assert f"{output}: neither in the cache nor to be had from the remote" in told
            gone = [place]
            continue
        assert f"value:    {output}\n" in told
        named = re.search(r"remove (.*) from the remote", told)
        assert named
        gone = [lawful / "../remote" / name for name in named[1].split(", ")]
        assert place in gone
    for each in gone:
        each.unlink(missing_ok=True)
    assert "objects sent" in call(lawful, "ml-experiment", "push")
    call(other, "ml-experiment", "pull")
    assert seed_of(other) == seed_of(lawful)


@pytest.mark.parametrize("cache", ["copy", "symlink"])
def test_fsck_finds_and_mends_them(lawful: Path, cache: str) -> None:
    seed, objects = seed_of(lawful), objects_of(lawful)
    for file in objects.values():
        corrupt(file)
    told = call(lawful, "ml-experiment", "fsck", code=1)
    for kind, (output, _) in OBJECTS.items():
        if kind != "member":  # the listing that would name it is corrupt as well
            digest = f"{objects[kind].parent.name}{objects[kind].name}"
            assert f"cache: {output} {digest} has other bytes" in told
    lock = (lawful / "dvc.lock").read_text()
    edit(lawful, "seed: 3", "seed: 4")  # what is put into the cache is nothing of this one's
    assert re.search(r"(\d) of \1 faults mended", call(lawful, "ml-experiment", "fsck", "--repair"))
    assert (lawful / "dvc.lock").read_text() == lock
    edit(lawful, "seed: 4", "seed: 3")
    assert "no fault found" in call(lawful, "ml-experiment", "fsck")
    assert seed_of(lawful) == seed
