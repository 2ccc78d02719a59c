"""What goes wrong beside DVC: nothing is lost, a sentence says what to do, and so does the exit code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import lacking
from tests.e2e import kept
from tests.e2e.kept import CLEAN, call, clone, commit, edit, seed_of
from tests.e2e.project import Project

EXCHANGES = ("push", "pull", "fsck")
MADE = "results/make/large.bin"


@pytest.fixture
def project(first_law: Path, tmp_path: Path) -> Path:
    return kept.copy(first_law, tmp_path / "all")


def run_otherwise(folder: Path) -> str:
    """A run with another seed; what its last lines say of DVC."""
    edit(folder, "seed: 3", "seed: 4")
    told = re.search(r"DVC: .*", call(folder, "snakemake", "--cores", "2"))
    assert "1 of 1 jobs current" in call(folder, "ml-experiment", "status")
    return told[0] if told else ""


def refused(folder: Path, *sentences: str, words: tuple[str, ...] = EXCHANGES) -> None:
    """Each command says all of that, in few lines, and changes no output."""
    before = Project(folder).files("results")
    for word in words:
        told = call(folder, "ml-experiment", word, code=2)
        assert all(sentence in told for sentence in sentences), told
        assert len(told.splitlines()) <= 3
    assert Project(folder).files("results") == before


def object_of(folder: Path, path: str, within: str = ".dvc/cache") -> Path:
    lock = (folder / "dvc.lock").read_text()
    found = re.search(rf"path: {path}\n\s+hash: md5\n\s+md5: (\S+)", lock)
    assert found
    return folder / within / "files/md5" / found[1][:2] / found[1][2:]


@pytest.mark.parametrize(
    ("gone", "what", "to_do"),
    [
        (".dvc", "there is no DVC repository", "`dvc init`"),
        (
            ".git",
            "DVC finds no git repository here",
            "`git init`; or `dvc config core.no_scm true`",
        ),
    ],
)
def test_no_repository(project: Path, gone: str, what: str, to_do: str) -> None:
    (project / gone).rename(project / "gone")
    refused(project, what, to_do)
    call(project, "ml-experiment", "check")
    call(project, "ml-experiment", "dvc")
    call(project, "ml-experiment", "stage", "make")
    said = run_otherwise(project)
    assert said.startswith(f"DVC: nothing kept, {what}")
    assert to_do in said


def test_no_remote(project: Path) -> None:
    call(project, "dvc", "remote", "remove", "store")
    commit(project)
    refused(project, "DVC has no remote here", "`dvc remote add --default", words=("push",))
    assert "0 objects fetched" in call(project, "ml-experiment", "pull")  # nothing is lacking
    other = clone(project, "other")
    told = call(other, "ml-experiment", "pull", code=2)
    assert "DVC has no remote here" in told
    assert "DVC knows no such remote" in call(
        other, "ml-experiment", "push", "--remote", "x", code=2
    )


def test_a_remote_without_an_object(project: Path) -> None:
    """All else comes, and the run makes what is lacking."""
    object_of(project, MADE, "../remote").unlink()
    other = clone(project, "other")
    told = call(other, "ml-experiment", "pull", code=1)
    assert "make: missing: deleted: results/make/large.bin" in told
    assert f"{MADE}: neither in the cache nor to be had from the remote" in told
    assert "`snakemake` makes it anew" in told
    assert (other / "results/make/parts/large.bin").exists()
    assert f"{MADE}: neither" in call(other, "ml-experiment", "push", code=1)
    told = call(other, "ml-experiment", "fsck", "--repair", code=1)
    assert f"workspace: {MADE} is not there; --repair fetches it" in told
    call(other, "snakemake", "--cores", "2")
    assert seed_of(other) == seed_of(project)
    assert "objects sent" in call(other, "ml-experiment", "push")


@pytest.mark.parametrize("targets", [(), ("results/make/parts/",)], ids=["all", "slash"])
def test_a_folder_of_which_a_file_is_lost_keeps_the_others(
    project: Path, targets: tuple[str, ...]
) -> None:
    """DVC itself would remove all of it, and its cache may not have the others either."""
    parts = project / "results/make/parts"
    shutil.rmtree(project / ".dvc/cache")
    shutil.rmtree(project.parent / "remote")
    (parts / "small.bin").unlink()
    told = call(project, "ml-experiment", "pull", *targets, code=1)
    assert "results/make/parts: neither in the cache nor to be had from the remote" in told
    assert MADE not in told  # it is here
    assert (parts / "large.bin").exists()
    call(project, "snakemake", "--cores", "2", "--force", "make")
    assert "no fault found" in call(project, "ml-experiment", "fsck")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "s3://bucket/x"])
def test_a_remote_that_is_down(project: Path, url: str) -> None:
    call(project, "dvc", "remote", "add", "-q", "-f", "-d", "store", url)
    if url.startswith("s3"):
        call(project, "dvc", "remote", "modify", "store", "endpointurl", "http://127.0.0.1:9")
    commit(project)
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_MAX_ATTEMPTS": "1"}
    told = call(project, "ml-experiment", "push", code=2, **keys)
    assert "127.0.0.1" in told
    assert "can be reached" in told
    assert len(told.splitlines()) == 2
    other = clone(project, "other")
    code = 2 if url.startswith("s3") else 1  # over HTTP, down is for DVC as if nothing was there
    told = call(other, "ml-experiment", "pull", code=code, **keys)
    assert "to be had from" in told if code == 1 else "127.0.0.1" in told
    told = call(other, "ml-experiment", "fsck", "--repair", code=1, **keys)
    assert "0 of 8 faults mended" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("how", ["in a digest", "conflict"])
def test_a_half_written_lock(project: Path, how: str) -> None:
    file = project / "dvc.lock"
    text = file.read_text()
    texts = {
        "in a digest": text[: text.index(object_of(project, MADE).name) + 5],
        "conflict": f"<<<<<<< HEAD\n{text}",
    }
    file.write_text(texts[how])
    what, to_do = "dvc.lock cannot be read: half written", "`git checkout -- dvc.lock`"
    refused(project, what, to_do)
    call(project, "ml-experiment", "stage", "make")
    said = run_otherwise(project)
    if how != "in a digest":  # that one is DVC's to write anew
        assert said.startswith(f"DVC: nothing kept, {what}")
        call(project, "git", "checkout", "--", "dvc.lock")
        call(project, "dvc", "repro")
    assert CLEAN in call(project, "dvc", "status")
    assert "no fault found" in call(project, "ml-experiment", "fsck")


def test_an_output_that_git_has(project: Path) -> None:
    call(project, "git", "add", "-f", MADE)
    call(project, "git", "commit", "-qm", "x")
    told = call(project, "ml-experiment", "check", code=2)
    assert f"{MADE}: git has it, so DVC cannot keep it: `git rm -r --cached` it" in told
    assert f"note: {MADE}: git has it" in call(project, "ml-experiment", "dvc")
    said = run_otherwise(project)
    assert said.startswith(
        f"DVC: nothing kept, git has this output, so DVC cannot keep it ({MADE})"
    )
    call(project, "git", "rm", "-q", "-r", "--cached", MADE)
    call(project, "git", "commit", "-qm", "x")
    call(project, "dvc", "repro")
    assert CLEAN in call(project, "dvc", "status")


@pytest.fixture
def tiny() -> Iterator[Path]:
    """A disk of 5 MB, which is less than the outputs."""
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"tiny-{os.getpid()}"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=5m", "none", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        folder.rmdir()
        lacking(f"no disk of a size can be mounted: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)
    folder.rmdir()


def test_a_full_disk_keeps_the_old_state(project: Path, tiny: Path) -> None:
    lock = (project / "dvc.lock").read_text()
    call(project, "dvc", "config", "--local", "cache.dir", str(tiny))
    assert run_otherwise(project).startswith("DVC: nothing kept, the disk is full; outputs and dvc")
    assert (project / "dvc.lock").read_text() == lock
    second = seed_of(project)
    told = call(project, "ml-experiment", "pull", code=2)
    assert f"{tiny}" in told
    assert "the disk is full" in told
    assert seed_of(project) == second
    call(project, "dvc", "config", "--local", "--unset", "cache.dir")
    call(project, "dvc", "repro")
    assert seed_of(project) == second
    assert "no fault found" in call(project, "ml-experiment", "fsck")


def test_outputs_deleted_by_hand(project: Path) -> None:
    first = seed_of(project)
    (project / MADE).unlink()
    shutil.rmtree(project / "results/make/parts")
    told = call(project, "ml-experiment", "fsck", code=1)
    assert f"workspace: {MADE} is not there; --repair takes it from the cache" in told
    assert "unable to commit" in call(project, "dvc", "commit", code=1)
    assert "nothing to send" in call(project, "ml-experiment", "push")
    call(project, "ml-experiment", "pull")
    assert seed_of(project) == first
    (project / MADE).unlink()
    call(project, "ml-experiment", "stage", "make")
    assert seed_of(project) == first
    assert "no fault found" in call(project, "ml-experiment", "fsck")


def test_links_to_nothing(project: Path) -> None:
    for name in ("large.bin", "parts/small.bin"):
        file = project / "results/make" / name
        file.unlink()
        file.symlink_to("/nowhere")
    told = call(project, "ml-experiment", "fsck", code=1)
    assert f"workspace: {MADE} is not there" in told
    assert "workspace: results/make/parts is not" in told
    assert "Traceback" not in told + call(project, "ml-experiment", "pull", code=None)
    assert "Traceback" not in call(project, "ml-experiment", "fsck", "--repair", code=None)
    call(project, "dvc", "repro")
    assert "no fault found" in call(project, "ml-experiment", "fsck")


def test_outputs_that_nobody_else_has_are_not_overwritten(project: Path) -> None:
    edit(project, "seed: 3", "dvc: manual\nseed: 4")
    call(project, "snakemake", "--cores", "2")
    second = seed_of(project)
    told = call(project, "ml-experiment", "pull", code=2)
    assert "DVC's cache does not have these files as they are" in told
    assert "`dvc commit` keeps those here; `dvc checkout --force` takes those of" in told
    assert seed_of(project) == second
    call(project, "dvc", "commit", "--force")  # the records are there for it
    assert "no fault found" in call(project, "ml-experiment", "fsck")
    call(project, "ml-experiment", "pull")
    assert seed_of(project) == second


HOLD = """\
import sys
from dvc.repo import Repo
with Repo(".").lock:
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_dvc_at_work(project: Path) -> None:
    words = [sys.executable, "-c", HOLD]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=project, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        refused(project, "another DVC is at work here", "has ended", words=("push", "pull"))
        assert run_otherwise(project).startswith("DVC: nothing kept, another DVC is at work here")
        other.communicate()
    call(project, "dvc", "commit", "--force")
    assert CLEAN in call(project, "dvc", "status")
    assert "no fault found" in call(project, "ml-experiment", "fsck")


def test_another_run_at_work(project: Path) -> None:
    """Of two, one refuses; also DVC's, and what changes or judges outputs."""
    os.mkfifo(project / "gate")
    script = (project / "make.py").read_text()
    (project / "make.py").write_text(f"open('started', 'w')\nopen('gate').read()\n{script}")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "SNAKEMAKE_LOGGER_MLFLOW_OFFLINE": "true"}
    words = ["snakemake", "--cores", "1"]
    with subprocess.Popen(
        words, cwd=project, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as first:
        while first.poll() is None and not (project / "started").exists():
            time.sleep(0.05)
        for others in (["snakemake", "--cores", "1"], ["ml-experiment", "run"], ["dvc", "repro"]):
            told = call(project, *others, code=None)
            assert "Directory cannot be locked. Please make sure that no other Snakemake" in told
            assert str(project) in told
        refused(project, "Snakemake is at work here", "again when it has", words=("pull", "fsck"))
        (project / "gate").write_text("")
        told, _ = first.communicate()
    assert "DVC: 1 stage" in told
    assert CLEAN in call(project, "dvc", "status")


def test_names_that_dvc_does_not_know(project: Path) -> None:
    for word in ("push", "pull"):
        told = call(project, "ml-experiment", word, "results/nosuch", code=2)
        assert "no stage of DVC's has this name or output" in told
        assert "value:    results/nosuch" in told
