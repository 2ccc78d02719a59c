"""Models by name: registered once per content, promoted, compared, fetched in a clone by their hash."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from ml_experiment import workspace
from ml_experiment.errors import UserError
from ml_experiment.services import models
from tests.e2e.kept import call, clone, commit, copy
from tests.e2e.project import Project, scaffold

EXPERIMENT = """\
name: named
seed: 7
models:
  digits: {from: final.model, description: Draws a number., licence: apache-2.0}
  best: tune.best.model
steps:
  fit:
    call: fit:fit
    inputs: {raw: data/raw.csv}
    params: {scale: 1.0}
    outputs: {model: model.json}
    metrics: metrics.json
  final: {like: fit, params: {scale: 2.0}, replicates: 2}
  score:
    run: cp {inputs.model} {metrics}
    inputs: {model: final.model}
    metrics: metrics.json
    replicates: 2
studies:
  tune:
    step: fit
    space: {scale: {float: [1.0, 2.0]}}
    objectives: {draw: maximize}
    trials: 2
"""
FIT = """\
import json
import random


def fit(model, raw, scale):
    draw = scale * random.random()
    json.dump({"draw": draw, "scale": scale}, open(model, "w"))
    return {"draw": draw}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a promoted model, and a later version of it. To be copied."""
    folder = tmp_path_factory.mktemp("models") / "project"
    project = scaffold(
        folder, {"experiment.yaml": EXPERIMENT, "fit.py": FIT, "data/raw.csv": "1\n"}
    )
    ignored = ("/.snakemake/", "/.ml_experiment/", "/results*/*", "/logs*/", "/mlflow.db*")
    (folder / ".gitignore").write_text("\n".join([*ignored, "/mlartifacts/"]) + "\n")
    call(folder, "git", "init", "-q")
    for key, value in (("user.name", "n"), ("user.email", "n@example.org")):
        call(folder, "git", "config", key, value)
    call(folder, "dvc", "init", "-q")
    call(folder, "dvc", "remote", "add", "-d", "store", "../remote")
    call(folder, "ml-experiment", "dvc")
    run(folder)
    told = call(folder, "ml-experiment", "models", "promote", "digits")
    assert told == "digits@champion is digits/1\nwritten: models.json, for git\n"
    project.edit("experiment.yaml", "scale: 2.0", "scale: 3.0")
    run(folder)
    call(folder, "snakemake", "--cores", "2", "--config", "seed=9", "--until", "final")
    commit(folder)
    call(folder, "ml-experiment", "push")
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    return copy(made, tmp_path / "all")


def run(folder: Path) -> None:
    done = Project(folder, tracked=True).snakemake()
    assert done.returncode == 0, done.stdout + done.stderr


def listed(folder: Path, **environ: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    done = Project(folder).call("ml-experiment", "models", "--json", **environ)
    assert done.returncode == 0, done.stderr
    for each in json.loads(done.stdout):
        found.setdefault(each["name"], []).append(each)
    return found


def registry(folder: Path, name: str) -> list[Any]:
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db", f"sqlite:///{folder}/mlflow.db")
    return sorted(
        client.search_model_versions(f"name = '{name}'"), key=lambda each: int(each.version)
    )


def test_versions_in_the_registry(made: Path) -> None:
    first, second = registry(made, "digits")
    tags = {key.removeprefix("ml_experiment."): value for key, value in first.tags.items()}
    assert tags["path"] == "results/final/seed-0/model.json"
    assert json.loads(tags["params"]) == {"scale": 2.0}
    assert json.loads(tags["inputs"])["data/raw.csv"] == hashlib.md5(b"1\n").hexdigest()
    assert {*json.loads(tags["code"])} == {"fit.py"}
    assert (tags["format"], tags["licence"]) == ("JSON", "apache-2.0")
    assert {"hash", "run", "record", "seed", "metrics", "environment"} <= {*tags}
    client = MlflowClient(f"sqlite:///{made}/mlflow.db")
    assert client.get_run(first.run_id).data.tags["ml_experiment.record"] == tags["record"]
    assert first.source.startswith("file://")
    assert tags["hash"] != second.tags["ml_experiment.hash"]
    (best,) = registry(made, "best")  # its job ran again, and made the same
    assert best.tags["ml_experiment.job"].startswith("tune/trial-")
    assert 1 <= json.loads(best.tags["ml_experiment.params"])["scale"] <= 2


@pytest.fixture(scope="module")
def known(made: Path) -> models.Models:
    return models.load(workspace.open_plan(made / "experiment.yaml"))


def test_a_run_with_overrides_makes_no_version(known: models.Models) -> None:
    digits = known.versions["digits"]
    assert [(each.number, each.aliases) for each in digits] == [(1, ("champion",)), (2, ())]
    assert known.current["digits"] not in {each.hash for each in digits}


def test_what_is_known_of_a_version(known: models.Models) -> None:
    first = models.find(known, "digits@champion")
    where, found = models.described(known.plan, first)
    assert found is not None
    assert (where, found.format) == ("cache", "JSON")
    measured = {each.of: each for each in models.measured(known.plan, first)}
    assert {of: each.n for of, each in measured.items()} == {"final": 2, "score": 2}
    own = next(e for e in models.measured(known.plan, first) if e.of == "final")
    assert own.low is not None
    assert own.high is not None
    assert own.low < own.mean < own.high
    card = models.card(known.plan, first)
    assert card.startswith(
        "---\nlicense: apache-2.0\nmetrics:\n- draw\n- scale\ndatasets:\n- raw.csv"
    )
    assert card == models.card(known.plan, models.find(known, "digits/1"))


def test_diff(made: Path, known: models.Models) -> None:
    first, second = (models.find(known, f"digits/{number}") for number in (1, 2))
    found = models.diff(known.plan, first, second)
    assert {*found.facts} == {"params.scale", "metrics.draw"}
    assert found.parts is not None
    assert found.parts["scale"] == "value 2.0 → 3.0"
    assert models.diff(known.plan, first, first).same
    text = call(made, "ml-experiment", "models", "diff", "digits@champion", "digits/2", code=1)
    assert "  params.scale: 2.0 → 3.0\n" in text


def test_get_in_a_clone(project: Path) -> None:
    """The champion is older than the records that travel; nothing was pulled."""
    other = clone(project, "other")
    told = json.loads(call(other, "ml-experiment", "models", "show", "digits@champion", "--json"))
    assert told["where"] == "not on this machine"
    assert {each["n"] for each in told["measured"]} == {2}
    digest = told["hash"]
    remote = project.parent / "remote/files/md5" / digest[:2] / digest[2:]
    right = remote.read_bytes()
    remote.chmod(0o644)
    remote.write_bytes(b"bad" + right[3:])
    remote.chmod(0o444)
    get = ("ml-experiment", "models", "get", "digits@champion", "--out", "models/m.json")
    told = call(other, *get, code=2)
    assert "the remote's bytes are not digits/1, so they were not taken" in told
    assert not [*(other / "models").iterdir()]
    remote.chmod(0o644)
    remote.write_bytes(right)
    assert "from the remote" in call(other, *get)
    assert (other / "models/m.json").read_bytes() == right
    (other / "models/m.json").write_text("mine")
    assert "something else is there" in call(other, *get, code=2)
    cached = other / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
    cached.chmod(0o644)
    cached.write_bytes(b"bad")
    cached.chmod(0o444)
    assert "from the remote" in call(other, *get, "--force")
    assert (other / "models/m.json").read_bytes() == right
    remote.chmod(0o644)
    remote.unlink()
    cached.unlink()
    (other / "models/m.json").write_text("mine")
    told = call(other, *get, "--force", code=2)
    assert "neither in the cache nor to be had from the remote" in told
    assert (other / "models/m.json").read_text() == "mine"


def test_a_registry_that_is_down_loses_nothing(project: Path) -> None:
    down = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}
    digits = listed(project, **down)["digits"]
    assert [each["version"] for each in digits] == [None, None]
    assert digits[0]["aliases"] == ["champion"]
    before = (project / "models.json").read_text()
    told = call(project, "ml-experiment", "models", "promote", "digits", code=2, **down)
    assert "the registry does not answer" in told
    assert (project / "models.json").read_text() == before
    for file in project.glob("mlflow.db*"):
        file.unlink()
    digits = listed(project)["digits"]
    assert [each["version"] for each in digits] == [1, 2]
    assert [each["aliases"] for each in digits] == [["champion"], []]


def test_what_is_not_there_is_said(known: models.Models) -> None:
    for reference, said in (
        ("digts", "did you mean digits?"),
        ("digits/7", "there is: 1 ("),
        ("digits@chmpion", "did you mean champion?"),
    ):
        with pytest.raises(UserError, match=re.escape(said)):
            models.find(known, reference)
    first = models.find(known, "digits/1")
    assert models.find(known, f"digits/{first.hash[:6]}") == first
    assert models.find(known, "digits").number == 2
    for alias in ("latest", "v1", "a b", ""):
        with pytest.raises(UserError, match="not an alias"):
            models.promote(known, first, alias)
