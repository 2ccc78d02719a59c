"""Which environments an experiment names, and what is wrong with them under `runtime: docker`."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_experiment import environments, workspace
from ml_experiment.environments import Lock
from ml_experiment.errors import ExperimentError

EXPERIMENT = """\
name: x
runtime: docker
steps:
  a: {run: "true > {outputs.o}", outputs: {o: o.txt}, environment: one}
  b: {run: "true > {outputs.o}", outputs: {o: o.txt}}
  c: {run: "true > {outputs.o}", outputs: {o: o.txt}, environment: two}
  d: {run: "true > {outputs.o}", outputs: {o: o.txt}, environment: tow}
"""


def test_everything_that_is_missing_is_told_at_once(tmp_path: Path) -> None:
    for name, text in (("one", "image: a\n"), ("two", "nonsense: 1\n")):
        (tmp_path / "envs" / name).mkdir(parents=True)
        (tmp_path / "envs" / name / "image.yaml").write_text(text)
    (tmp_path / "envs/two/image.lock").write_text("{")
    file = tmp_path / "experiment.yaml"
    file.write_text(EXPERIMENT)
    with pytest.raises(ExperimentError) as raised:
        workspace.open_plan(file)
    problems = {problem.key: problem for problem in raised.value.problems}
    assert problems["steps.a.environment"].what == "there is no image of it"
    assert problems["steps.a.environment"].hint == "`ml-experiment env build one`"
    assert problems["steps.b.environment"].what == "no environment, in whose image it would run"
    assert "not an image.lock" in problems["steps.c.environment"].what
    assert problems["steps.d.environment"].hint == "did you mean two?"
    assert len(problems) == 4
    with pytest.raises(ExperimentError) as raised:
        workspace.open_plan(file, {"runtime": "host"})
    found = {problem.key: problem.what for problem in raised.value.problems}
    assert list(found) == ["steps.c.environment", "steps.d.environment"]
    assert "no such key" in found["steps.c.environment"], "it may have meant `host`"


SCRIPTS = """\
name: x
runtime: docker
environment: one
steps:
  a: {run: "python ../outside.py > {outputs.o}", outputs: {o: o.txt}}
  b: {run: "python linked.py > {outputs.o}", outputs: {o: o.txt}}
  c: {run: "python inside.py > {outputs.o}", outputs: {o: o.txt}}
"""


def test_a_script_that_no_container_sees_is_a_mistake(tmp_path: Path) -> None:
    place = tmp_path / "place"
    (place / "envs/one").mkdir(parents=True)
    (place / "envs/one/image.yaml").write_text("image: a\n")
    sources = environments.declared(place, "one").sources()
    environments.write(place, "one", Lock({}, "linux/amd64", sources, "sha256:0"))
    (tmp_path / "outside.py").write_text("")
    (place / "linked.py").symlink_to(tmp_path / "outside.py")
    (place / "inside.py").write_text("")
    (place / "experiment.yaml").write_text(SCRIPTS)
    with pytest.raises(ExperimentError) as raised:
        workspace.open_plan(place / "experiment.yaml")
    found = {problem.key: problem.value for problem in raised.value.problems}
    assert found == {"steps.a": "../outside.py", "steps.b": "linked.py"}
    assert workspace.open_plan(place / "experiment.yaml", {"runtime": "host"}).images == {}


@pytest.mark.parametrize(
    ("runtime", "text", "what"),
    [
        ("conda", None, "no environment.yml"),
        ("env-modules", None, "no list of modules"),
        ("env-modules", "# R\n", "no module is listed"),
        ("env-modules", "R; rm x\n", "no module"),
        ("apptainer", None, "there is no image of it"),
    ],
)
def test_what_snakemake_is_to_make_ready_is_there(
    runtime: str, text: str | None, what: str, tmp_path: Path
) -> None:
    (tmp_path / "envs/one").mkdir(parents=True)
    (tmp_path / "envs/one/requirements.txt").write_text("")
    if text is not None:
        (tmp_path / "envs/one/modules.txt").write_text(text)
    (tmp_path / "experiment.yaml").write_text(
        "name: x\nenvironment: one\nsteps: {a: {run: 'true > {outputs.o}', outputs: {o: o.txt}}}\n"
    )
    with pytest.raises(ExperimentError) as raised:
        workspace.open_plan(tmp_path / "experiment.yaml", {"runtime": runtime})
    assert [what in problem.what for problem in raised.value.problems] == [True]


def test_modules_are_read_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "envs/one").mkdir(parents=True)
    (tmp_path / "envs/one/modules.txt").write_text("R/4.3.1\n\nGCC/12  # for it\n")
    assert environments.modules(tmp_path, "one") == ["R/4.3.1", "GCC/12"]
    assert environments.only_modules(tmp_path, "one")
