"""A digest is believed only while its file is untouched."""

from __future__ import annotations

import os
from pathlib import Path

from ml_experiment import digests, hashing
from ml_experiment.digests import Digests


def test_a_digest_is_that_of_the_bytes_that_are_there(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("one")
    known = Digests(tmp_path)
    assert known.of("x") == hashing.of_file(file)
    file.write_text("two!")
    assert known.of("x") == hashing.of_file(file)
    assert known.of("none") is None


def test_what_was_learnt_is_believed_until_the_file_is_touched(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("one")
    entries = Digests(tmp_path).entries(["x"])
    known = Digests(tmp_path)
    known.learn({"x": {**entries["x"], "hash": "remembered"}})
    assert known.of("x") == "remembered"
    os.utime(tmp_path / "x", ns=(1, 1))
    assert known.of("x") == entries["x"]["hash"]


def test_each_file_is_read_once(tmp_path: Path) -> None:
    """Whoever asks again gets what is known: shown by bytes that changed under the same stat."""
    file = tmp_path / "x"
    file.write_text("one")
    known = Digests(tmp_path)
    before = known.of("x")
    status = file.stat()
    file.write_text("two")
    os.utime(file, ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert known.of("x") == before
    assert Digests(tmp_path).of("x") == hashing.of_text("two")


def test_a_path_outside_of_the_workspace_has_a_digest_too(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("one")
    inside = tmp_path / "workspace"
    inside.mkdir()
    assert Digests(inside).of(str(tmp_path / "data")) == hashing.of_text("one")


def test_a_folder_is_touched_when_a_file_in_it_is(tmp_path: Path) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "e" / "x").write_text("one")
    known = Digests(tmp_path)
    entry = known.entries(["d"])["d"]
    assert entry["hash"] == hashing.of_folder(tmp_path / "d")
    assert (entry["files"], entry["size"]) == (1, 3)
    (tmp_path / "d" / "e" / "x").write_text("two!")
    assert known.of("d") not in (entry["hash"], None)


def test_many_at_once_are_the_same_as_one_by_one(tmp_path: Path) -> None:
    names = [f"f{index}" for index in range(6)]
    for index, name in enumerate(names):
        (tmp_path / name).write_bytes(bytes([index]) * (hashing.LARGE + index if index % 2 else 3))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").write_bytes(b"x" * hashing.LARGE)
    found = Digests(tmp_path).entries([*names, "folder"])
    assert list(found) == [*names, "folder"]
    for name in names:
        assert found[name]["hash"] == hashing.of_file(tmp_path / name)
    assert found["folder"]["hash"] == hashing.of_folder(tmp_path / "folder")


def test_what_has_no_bytes_says_why(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "empty").touch()
    (tmp_path / "mixed").mkdir()
    os.mkfifo(tmp_path / "mixed" / "pipe")
    found = Digests(tmp_path).entries(["pipe", "broken", "empty", "gone", "mixed"])
    assert found["pipe"] == {"hash": None, "reason": "not a file or folder"}
    assert found["broken"] == {"hash": None, "reason": "not a file or folder"}
    assert found["gone"] == {"hash": None, "reason": "not there"}
    assert found["empty"]["hash"] == hashing.of_text("")
    assert found["mixed"]["files"] == 0


def test_a_link_that_leaves_the_workspace_has_the_digest_of_what_it_leads_to(
    tmp_path: Path,
) -> None:
    (tmp_path / "data").write_text("one")
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "link").symlink_to(tmp_path / "data")
    assert Digests(tmp_path / "workspace").of("link") == hashing.of_text("one")


def test_an_entry_gives_its_stat_back(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").write_text("one")
    known = Digests(tmp_path)
    for path in ("d", "d/x"):
        assert digests.stat_of(known.entries([path])[path]) == known.stat(path)
    assert digests.stat_of({"hash": None, "reason": "temporary"}) is None


def test_what_a_job_has_made_is_believed_after_snakemake_has_touched_it(tmp_path: Path) -> None:
    for name in ("kept", "gone", "changed", "grown"):
        (tmp_path / name).write_text("one")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").write_text("one")
    names = ["kept", "gone", "changed", "grown", "folder"]
    made = {path: (stat, "handed over") for path, (stat, _) in _hashed(tmp_path, names).items()}
    os.utime(tmp_path / "kept")
    (tmp_path / "gone").unlink()
    (tmp_path / "other").write_text("two")
    (tmp_path / "other").rename(tmp_path / "changed")
    (tmp_path / "grown").write_text("more")
    (tmp_path / "folder" / "x").write_text("two")
    known = Digests(tmp_path)
    known.take(made)
    entries = known.entries([*names, "never"])
    assert entries["kept"]["hash"] == entries["gone"]["hash"] == "handed over"
    assert entries["kept"]["mtime"] == (tmp_path / "kept").stat().st_mtime_ns
    assert entries["changed"]["hash"] == hashing.of_text("two")
    assert entries["grown"]["hash"] == hashing.of_text("more")
    assert entries["folder"]["hash"] == hashing.of_folder(tmp_path / "folder")
    assert entries["never"] == {"hash": None, "reason": "not there"}
    (tmp_path / "kept").unlink()
    assert known.entries(["kept"])["kept"] == entries["kept"]


def _hashed(folder: Path, names: list[str]) -> digests.Known:
    known = Digests(folder)
    known.entries(names)
    return known.known


def test_the_digests_of_a_folders_files_are_kept_as_they_were_when_it_was_hashed(
    tmp_path: Path,
) -> None:
    file = tmp_path / "many" / "deep" / "x"
    file.parent.mkdir(parents=True)
    file.write_text("one")
    (tmp_path / "many" / "a").write_text("")
    digest = Digests(tmp_path, listed=True).of("many")
    assert digest == hashing.of_folder(tmp_path / "many") == Digests(tmp_path).of("many")
    kept = digests.members(tmp_path, digest)
    stat = file.stat()
    assert set(kept) == {"deep/x", "a"}
    assert kept["deep/x"] == (hashing.of_text("one"), stat.st_ino, 3, stat.st_mtime_ns)
    assert digests.members(tmp_path, "of another folder.dir") == {}
