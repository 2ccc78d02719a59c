from __future__ import annotations

import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ml_experiment import hashing
from ml_experiment.adapters import dvc, dvc_commit
from ml_experiment.errors import UserError
from tests.e2e.kept import call

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # of a DVC's library

CACHES = ("copy", "hardlink", "symlink", "reflink,copy")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dvc")
    call(folder, "dvc", "init", "-q", "--no-scm")
    (folder / "dvc.yaml").write_text("stages: {make: {cmd: make, outs: [one, parts]}}")
    return folder


@pytest.fixture
def made(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stage whose outputs have just been made."""
    folder = tmp_path / "x"
    shutil.copytree(empty, folder)
    monkeypatch.chdir(folder)  # stages are named as seen from there
    (folder / "parts/in").mkdir(parents=True)
    (folder / "one").write_text("one")
    for number in range(dvc_commit.MANY + 1):
        (folder / f"parts/in/{number}").write_text(f"part {number // 2}")  # each twice
    return folder


def anything(_: Mapping[str, str]) -> None:
    """No check."""


def objects(folder: Path) -> dict[str, Path]:
    return {digest: file for each in dvc.kept(folder) for digest, file in each.objects.items()}


@pytest.mark.parametrize("cache", CACHES)
def test_commit_is_what_dvc_would_have(made: Path, cache: str) -> None:
    (made / ".dvc/config.local").write_text(f"[cache]\n    type = {cache}\n")
    outs = dvc_commit.commit(made, ["make"], {}, anything)
    assert outs == {name: hashing.of_path(made / name) for name in ("one", "parts")}
    found = objects(made)
    assert len(found) == 2 + (dvc_commit.MANY + 1) / 2 + 0.5
    for digest, file in found.items():
        assert hashing.of_file(file) == digest.removesuffix(".dir")
        assert stat.S_IMODE(file.stat().st_mode) == 0o444
    assert sorted(found.values()) == sorted(
        file for file in (made / ".dvc/cache/files/md5").rglob("*") if file.is_file()
    )
    one = made / "one"
    told = one.is_symlink(), one.stat().st_nlink > 1
    assert told == (cache == "symlink", cache == "hardlink")
    assert dvc.changed(made) == set()


def test_an_object_with_other_bytes_is_replaced(made: Path) -> None:
    digest = hashing.of_file(made / "one")
    file = made / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
    file.parent.mkdir(parents=True)
    file.write_text("on")  # as a copy that was cut off
    dvc_commit.commit(made, ["make"], {}, anything)
    assert file.read_text() == "one"


@pytest.mark.parametrize("cache", ["copy", "symlink"])
@pytest.mark.parametrize("kept", ["nothing", "half"])
def test_nothing_is_in_the_lock_that_is_not_in_the_cache(
    made: Path, cache: str, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (made / ".dvc/config.local").write_text(f"[cache]\n    type = {cache}\n")
    dvc_commit.commit(made, ["make"], {}, anything)
    before = (made / "dvc.lock").read_text()
    (made / "one").unlink()
    (made / "one").write_text("another")

    def put(self: Any, file: str, digest: str, size: int) -> None:
        target = Path(self.odb.oid_to_path(digest))
        if kept == "half" and not target.exists():
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(Path(file).read_bytes()[: size // 2])

    def commit(self: Any, relink: bool) -> None:
        for out in self.outs:
            for each in dvc_commit._files(out):
                put(dvc_commit._Cache(out.cache, {}), *each)  # type: ignore[arg-type]

    monkeypatch.setattr(dvc_commit._Cache, "put", put)
    monkeypatch.setattr("dvc.stage.Stage.commit", commit)
    with pytest.raises(UserError, match="1 objects are not in DVC's cache"):
        dvc_commit.commit(made, ["make"], {}, anything)
    assert (made / "dvc.lock").read_text() == before


def test_what_is_not_as_it_should_be_is_not_written(made: Path) -> None:
    def refuse(outs: Mapping[str, str]) -> None:
        raise UserError(f"no: {' '.join(sorted(outs))}")

    with pytest.raises(UserError, match="no: one parts"):
        dvc_commit.commit(made, ["make"], {}, refuse)
    assert not (made / "dvc.lock").exists()
    assert not (made / ".dvc/cache/files").exists()


def test_an_output_that_changes_on_its_way_is_refused(made: Path) -> None:
    """After it was hashed and before it is copied: its object would have other bytes."""

    def change(_: Mapping[str, str]) -> None:
        (made / "one").write_text("two")

    with pytest.raises(UserError, match="one changed while it went to DVC"):
        dvc_commit.commit(made, ["make"], {}, change)
    assert not (made / "dvc.lock").exists()
    digest = hashing.of_text("one")
    assert not (made / ".dvc/cache/files/md5" / digest[:2] / digest[2:]).exists()


def test_objects_are_put_back_and_the_lock_stays(made: Path) -> None:
    dvc_commit.commit(made, ["make"], {}, anything)
    lock = (made / "dvc.lock").read_text()
    there = {each.path: each.objects for each in dvc.kept(made)}
    (made / "dvc.yaml").write_text("stages: {make: {cmd: other, outs: [one, parts]}}")
    for each in there.values():
        for file in each.values():
            file.unlink()
    dvc_commit.restore(made, {path: {*each} for path, each in there.items()})
    for each in there.values():
        for digest, file in each.items():
            assert hashing.of_file(file) == digest.removesuffix(".dir")
    assert (made / "dvc.lock").read_text() == lock
