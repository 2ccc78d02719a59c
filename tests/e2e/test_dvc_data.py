"""Raw data in DVC and from where they come; what a remote has of them and of outputs."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.e2e.kept import call, clone, commit, to_run
from tests.e2e.project import scaffold

EXPERIMENT = """\
name: raw
data:
  far: {path: data/far.csv, from: ../outside/far.csv}
  near: {path: data/near/}
steps:
  join:
    run: cat {inputs.far} {inputs.near}/*.csv > {outputs.table}
    inputs: {far: data.far, near: data.near}
    outputs: {table: table.csv}
    seeding: none
  other: {run: "echo 1 > {outputs.one}", outputs: {one: one.txt}, seeding: none}
"""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with raw data, run and pushed. To be copied."""
    folder = tmp_path_factory.mktemp("raw") / "project"
    (folder.parent / "outside").mkdir()
    (folder.parent / "outside/far.csv").write_text("far\n")
    scaffold(folder, {"experiment.yaml": EXPERIMENT, "data/near/a.csv": "near\n"})
    (folder / ".gitignore").write_text("/.snakemake/\n/.ml_experiment/\n/results*/*\n/mlflow.db*\n")
    call(folder, "git", "init", "-q")
    for key, value in (("user.name", "n"), ("user.email", "n@example.org")):
        call(folder, "git", "config", key, value)
    call(folder, "dvc", "init", "-q")
    call(folder, "dvc", "remote", "add", "-d", "store", "../remote")
    told = call(folder, "ml-experiment", "data", code=1)
    assert "far   data/far.csv · absent · from ../outside/far.csv" in told
    assert "near  data/near · not added" in told
    assert call(folder, "ml-experiment", "data", "get") == "fetched: far\n"
    assert call(folder, "ml-experiment", "data", "add") == "added: near\n"
    call(folder, "ml-experiment", "dvc")
    assert "DVC: 2 stages" in call(folder, "snakemake", "--cores", "2")
    commit(folder)
    call(folder, "ml-experiment", "push")
    return folder


@pytest.fixture
def raw(first: Path, tmp_path: Path) -> Path:
    """A copy of that, with what is beside it."""
    shutil.copytree(first.parent, tmp_path / "all", symlinks=True)
    return tmp_path / "all/project"


def listed(folder: Path, code: int = 0) -> dict[str, str]:
    items = json.loads(call(folder, "ml-experiment", "data", "--json", code=code))
    return {item["name"]: item["state"] for item in items}


def test_an_output_is_pulled_with_its_raw_data(raw: Path) -> None:
    other = clone(raw, "other")
    call(other, "ml-experiment", "pull", "results/join/table.csv")
    assert (other / "data/far.csv").read_text() == "far\n"
    assert (other / "data/near/a.csv").read_text() == "near\n"
    assert not (other / "results/other/one.txt").exists()
    assert listed(other) == {"far": "kept", "near": "kept"}
    assert to_run(other) == {"other"}
    told = call(other, "ml-experiment", "lineage", "results/join/table.csv")
    assert "raw data · from ../outside/far.csv" in told
    assert "raw data · from ../outside/far.csv" in call(
        other, "ml-experiment", "lineage", "data/far.csv"
    )


def test_raw_data_of_the_remote_are_hashed_again(raw: Path) -> None:
    digest = listing(raw, "far")["hash"]
    file = raw.parent / "remote/files/md5" / digest[:2] / digest[2:]
    file.chmod(0o644)
    file.write_text("bad\n")
    file.chmod(0o444)
    other = clone(raw, "other")
    told = call(other, "ml-experiment", "pull", code=2)
    assert "not what dvc.lock says, so they were removed" in told
    assert not (other / "data/far.csv").exists()
    assert call(other, "ml-experiment", "data", "get", "far") == "fetched: far\n"  # from outside
    assert (other / "data/far.csv").read_text() == "far\n"


def listing(folder: Path, name: str) -> dict[str, str]:
    items = json.loads(call(folder, "ml-experiment", "data", "--json", code=None))
    return next(item for item in items if item["name"] == name)


def test_absent_data_are_named_with_the_command_that_fetches_them(raw: Path) -> None:
    shutil.rmtree(raw / "data/near")
    (raw / "data/far.csv").unlink()
    (raw / "results/join/table.csv").unlink()
    for words in (["snakemake", "-c1"], ["ml-experiment", "run"]):
        told = call(raw, *words, code=1)
        assert "data/far.csv: the raw data far is not there\n" in told
        assert "`ml-experiment data get far` fetches it" in told
        assert "Traceback" not in told
    told = call(raw, "ml-experiment", "check", code=2)
    assert "steps.join.inputs.near: the raw data near is not there" in told
    assert call(raw, "ml-experiment", "data", "get") == "fetched: far, near\n"
    assert listed(raw) == {"far": "kept", "near": "kept"}
    call(raw, "dvc", "checkout", "-q")
    call(raw, "ml-experiment", "pull")
    assert to_run(raw) == set()


def test_same_bytes_that_come_again_run_nothing(raw: Path) -> None:
    (raw / "data/far.csv").unlink()
    call(raw, "ml-experiment", "data", "get", "far")
    assert to_run(raw) == set()


def test_bytes_that_have_changed_where_they_come_from_are_refused(raw: Path) -> None:
    before = (raw / "data/far.csv.dvc").read_text()
    (raw.parent / "outside/far.csv").write_text("new\n")
    shutil.rmtree(raw / ".dvc/cache")
    shutil.rmtree(raw.parent / "remote")
    (raw / "data/far.csv").unlink()
    told = call(raw, "ml-experiment", "data", "get", code=2)
    assert "what was fetched for the raw data far is not what data/far.csv.dvc says" in told
    assert not (raw / "data/far.csv").exists()
    assert (raw / "data/far.csv.dvc").read_text() == before
    (raw / "data/far.csv.dvc").unlink()  # somebody wants the new ones
    assert call(raw, "ml-experiment", "data", "get") == "fetched: far\n"
    assert to_run(raw) == {"join"}


def test_the_md5_of_the_experiment_counts(raw: Path) -> None:
    file = raw / "experiment.yaml"
    wrong = f"from: ../outside/far.csv, md5: {'a' * 32}"
    file.write_text(file.read_text().replace("from: ../outside/far.csv", wrong))
    assert listed(raw, code=1) == {"far": "wrong", "near": "kept"}
    assert "data/far.csv (wrong)" in call(raw, "ml-experiment", "data", "add", code=2)
    (raw / "data/far.csv").unlink()
    told = call(raw, "ml-experiment", "data", "get", code=2)
    assert "is not the md5 that the experiment says, and was removed" in told
    assert not (raw / "data/far.csv").exists()


def test_edited_data_are_added_when_somebody_says_so(raw: Path) -> None:
    (raw / "data/near/b.csv").write_text("more\n")
    assert listed(raw, code=1)["near"] == "changed"
    assert call(raw, "ml-experiment", "data", "get") == "nothing to do\n"
    assert call(raw, "ml-experiment", "data", "add") == "added: near\n"
    assert listed(raw)["near"] == "kept"
    assert to_run(raw) == {"join"}


def test_what_dvc_does_not_keep_of_a_folder(raw: Path) -> None:
    """Of a repository only its files; of what .dvcignore has nothing is lost, and none is taken for kept."""
    call(raw, "git", "init", "-q", "data/near")
    assert listed(raw)["near"] == "kept"
    (raw / ".dvcignore").write_text("*.note\n")
    note = raw / "data/near/my.note"
    note.write_text("mine\n")
    told = call(raw, "ml-experiment", "data", "add", code=2)
    assert "DVC would leave out files of these data, by .dvcignore" in told
    assert "data/near/my.note" in told
    shutil.rmtree(raw / ".ml_experiment")
    call(raw, "ml-experiment", "pull")
    assert note.read_text() == "mine\n"
    assert (raw / "data/near/.git/HEAD").exists()
    note.unlink()
    assert listed(raw)["near"] == "kept"


def test_data_that_can_come_from_nowhere(raw: Path) -> None:
    shutil.rmtree(raw / "data/near")
    (raw / "data/near.dvc").unlink()
    assert listed(raw, code=1)["near"] == "lost"
    told = call(raw, "ml-experiment", "check", code=2)
    assert "data.near: it is not there, and neither DVC nor the experiment says where" in told
    told = call(raw, "ml-experiment", "data", "get", "near", code=2)
    assert "nothing says where the raw data near comes from" in told
    told = call(raw, "ml-experiment", "data", "get", "nera", code=2)
    assert "did you mean near?" in told


def test_without_a_repository_of_dvcs_it_says_so(raw: Path) -> None:
    (raw / ".dvc").rename(raw / "gone")
    for action in ("get", "add"):
        told = call(raw, "ml-experiment", "data", action, code=2)
        assert "no DVC repository here" in told
    assert listed(raw) == {"far": "kept", "near": "kept"}


def compared(folder: Path, *words: str, code: int = 1) -> dict[str, dict[str, str]]:
    """Step or raw data -> path -> who lacks it; and `ahead`."""
    told = json.loads(
        call(folder, "ml-experiment", "status", "--remote", "--json", *words, code=code)
    )
    found: dict[str, dict[str, str]] = {"ahead": dict.fromkeys(told["ahead"], "")}
    for each in told["differences"]:
        found.setdefault(each["of"], {})[each["path"]] = each["lacks"]
    return found


def test_what_the_remote_lacks_and_what_it_has_more(raw: Path) -> None:
    assert call(raw, "ml-experiment", "status", "--remote") == (
        "the remote has everything that DVC keeps here, and nothing of it is lacking here\n"
    )
    assert compared(raw, code=0) == {"ahead": {}}
    other = clone(raw, "other")
    found = compared(other)
    assert found["join"] == {f"results/join/{n}": "cache" for n in ("records.jsonl", "table.csv")}
    assert found["data/near"] == {"data/near/a.csv": "cache"}
    assert {*found["ahead"]} == {"join", "other"}  # outputs are not there
    told = call(other, "ml-experiment", "status", "--remote", "store", code=1)
    assert "data/far.csv: only the remote has data/far.csv: `ml-experiment pull`\n" in told

    (raw / "data/near/b.csv").write_text("more\n")
    call(raw, "ml-experiment", "data", "add")
    assert compared(raw)["data/near"] == {"data/near": "remote", "data/near/b.csv": "remote"}
    assert {*compared(raw)["ahead"]} == {"join"}
    call(raw, "snakemake", "--cores", "2")
    assert {*compared(raw)["join"].values()} == {"remote"}
    told = call(raw, "ml-experiment", "status", "join", "--remote", code=1)
    assert told.startswith("join: the remote lacks results/join/")
    assert "data/near" not in told
    call(raw, "ml-experiment", "push")
    assert compared(raw, code=0) == {"ahead": {}}
    shutil.rmtree(raw / ".dvc/cache")
    shutil.rmtree(raw.parent / "remote")
    assert {*compared(raw)["other"].values()} == {"both"}


def test_a_remote_that_is_not_there_is_said(raw: Path) -> None:
    told = call(raw, "ml-experiment", "status", "--remote", "nowhere", code=2)
    assert "DVC knows no such remote" in told
    told = call(raw, "ml-experiment", "status", "jion", "--remote", code=2)
    assert "did you mean join?" in told
    (raw / ".dvc").rename(raw / "gone")
    told = call(raw, "ml-experiment", "status", "--remote", code=2)
    assert "Traceback" not in told


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """A web server with a file."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www/far.csv").write_text("web\n")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "www"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_from_the_web_and_from_another_repository(raw: Path, served: str) -> None:
    library = raw.parent / "library"
    (library / "tables").mkdir(parents=True)
    (library / "tables/units.csv").write_text("units\n")
    call(library, "git", "init", "-q")
    for key, value in (("user.name", "n"), ("user.email", "n@example.org")):
        call(library, "git", "config", key, value)
    commit(library)
    call(library, "git", "tag", "v1")
    more = (
        f"  web: {{path: data/web.csv, from: '{served}/far.csv'}}\n"
        f"  gone: {{path: data/gone.csv, from: '{served}/none.csv'}}\n"
        f"  units: {{path: data/u.csv, from: {{repo: '{library}', path: tables/units.csv, rev: v1}}}}\n"
    )
    file = raw / "experiment.yaml"
    file.write_text(file.read_text().replace("steps:\n", f"{more}steps:\n"))
    told = call(raw, "ml-experiment", "data", "get", code=2)
    assert told.startswith(
        "fetched: web, units\ndata/gone.csv: the raw data gone cannot be fetched"
    )
    assert f"{served}/none.csv" in told
    assert (raw / "data/web.csv").read_text() == "web\n"
    assert (raw / "data/u.csv").read_text() == "units\n"
    assert not (raw / "data/gone.csv.dvc").exists()
    assert "/gone.csv" not in (raw / "data/.gitignore").read_text()
    assert listing(raw, "web")["source"] == f"{served}/far.csv"
    assert listing(raw, "units")["source"].startswith(f"tables/units.csv of {library} at ")
