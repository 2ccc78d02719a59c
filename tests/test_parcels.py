"""Files on their way: whole or not at all, and each content once."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ml_experiment import parcels
from ml_experiment.errors import UserError
from ml_experiment.parcels import Digests, Held, Item, Piece, Unpacking


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "from"
    (made / "model/deep/empty").mkdir(parents=True)
    (made / "model/deep/one").write_bytes(b"1")
    (made / "model/run.sh").write_text("echo")
    (made / "model/run.sh").chmod(0o755)
    (made / "model/link").symlink_to("deep/one")
    (made / "model/broken").symlink_to("nowhere")
    (made / "large").write_bytes(os.urandom(parcels.CHUNK * 2))
    (made / "none").touch()
    return made


def test_all_below_a_path_comes_as_it_was(folder: Path, tmp_path: Path) -> None:
    target = Unpacking(str(tmp_path / "to"))
    sent = list(parcels.pieces(str(folder), ["model", "lar*", "none", "not there"]))
    assert max(len(piece.data) for piece in sent) <= parcels.CHUNK
    for piece in sent:
        target.take(piece)
        assert not (tmp_path / "to/large").exists()
    target.done()
    done = subprocess.run(
        [
            "diff",
            "-r",
            "--no-dereference",
            str(folder / "model/deep"),
            str(tmp_path / "to/model/deep"),
        ],
        check=False,
    )
    assert done.returncode == 0
    assert (tmp_path / "to/large").read_bytes() == (folder / "large").read_bytes()
    assert (tmp_path / "to/none").read_bytes() == b""
    assert os.access(tmp_path / "to/model/run.sh", os.X_OK)
    assert (tmp_path / "to/model/link").read_bytes() == b"1"
    assert os.readlink(tmp_path / "to/model/broken") == "nowhere"


def test_what_has_not_come_whole_leaves_nothing(tmp_path: Path) -> None:
    target = Unpacking(str(tmp_path))
    target.take(Piece("a", "file", 0o644, b"half", more=True))
    target.take(Piece("b", "file", 0o644, b"whole"))
    target.undo()
    assert not list(tmp_path.iterdir())


def test_a_content_is_fetched_once_and_again_when_it_is_another(tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    file = tmp_path / "from/data"
    held = Held(str(tmp_path / "to"), str(tmp_path / "notes"))
    fetched: list[Item] = []

    def fetch(item: Item) -> list[bytes]:
        fetched.append(item)
        return [file.read_bytes()]

    for text, times in (("one", 1), ("one", 1), ("other", 2)):
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
        (item,) = parcels.items(str(tmp_path / "from"), "data", Digests())
        if held.lacks(item):
            held.write(item, fetch)
        assert len(fetched) == times
        assert not held.lacks(item)
        assert (tmp_path / "to/data").read_text() == text
    (tmp_path / "to/data").write_text("a job has written into its input")
    assert held.lacks(fetched[-1])


@pytest.mark.parametrize("git", [False, True])
def test_code_is_what_is_small_and_that_no_job_makes(tmp_path: Path, git: bool) -> None:
    for name in ("Snakefile", "scripts/a.py", "results/x/y", ".hidden/z", "__pycache__/c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "data.bin").write_bytes(bytes(parcels.MAX_CODE_FILE + 1))
    if git:
        subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
        (tmp_path / ".gitignore").write_text(".hidden\n__pycache__\n.gitignore\n")
    found = parcels.code(str(tmp_path), ["results/x"], 1000, Digests())
    assert [item.path for item in found] == ["Snakefile", "scripts/a.py"]
    with pytest.raises(UserError, match="at most 0 MiB"):
        parcels.code(str(tmp_path), [], 3, Digests())
