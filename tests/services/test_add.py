"""A step is put into an experiment file, and nothing else in it changes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_experiment import workspace, yamlio
from ml_experiment.errors import ExperimentError, MLExperimentError, UserError
from ml_experiment.services.add import Addition, propose, write

SCRIPT = """import argparse
import pandas as pd
p = argparse.ArgumentParser()
p.add_argument("--data", default="data/x.csv")
p.add_argument("--out", default="y.csv")
args = p.parse_args()
pd.read_csv(args.data).to_csv(args.out)
"""
RUN = "python fit.py --data {inputs.data} --out {outputs.out}"
STEP = {"run": RUN, "inputs": {"data": "data/x.csv"}, "outputs": {"out": "y.csv"}}
BLOCK = f"""\
  fit:
    run: {RUN}
    inputs:
      data: data/x.csv
    outputs:
      out: y.csv
"""


def project(folder: Path, text: str | bytes, file: str = "experiment.yaml") -> tuple[Path, Path]:
    script, experiment = folder / "fit.py", folder / file
    script.write_text(SCRIPT)
    experiment.write_bytes(text.encode() if isinstance(text, str) else text)
    return script, experiment


def added(folder: Path, text: str, file: str = "experiment.yaml", name: str | None = None) -> str:
    """The new text, after all that holds for every addition was checked."""
    script, experiment = project(folder, text, file)
    addition = propose(script, experiment, name)
    assert experiment.read_bytes() == text.encode()  # nothing is written yet
    write(addition)
    new = experiment.read_bytes().decode()
    old_data, data = (read(part, file) for part in (text, new))
    steps = {**(old_data.get("steps") or {}), addition.proposal.name: addition.proposal.data}
    assert data == {**old_data, "steps": steps}
    assert list(data["steps"])[-1] == addition.proposal.name
    assert sorted(os.listdir(folder)) == sorted({"fit.py", file})
    return new


def read(text: str, file: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(json.dumps(yamlio.read(text, file).plain() or {}))
    return data


FILES = {
    "plain": "name: x\nsteps:\n  a:\n    run: b\n{}",
    "no newline at the end": "steps:\n  a:\n    run: b\n{}",
    "sections after": "steps:\n  a: {{run: b}}\n{}\nstudies: {{}}\n",
    "comments": "# 1\nsteps: # 2\n  a: # 3\n    run: b # 4\n    # 5\n  # 6\n{}# 7\nname: x\n",
    "comment at the end": "steps:\n  a: {{run: b}} # 1\n{}# 2\n\n",
    "document end": "---\nsteps:\n  a: {{run: b}}\n{}...\n# after\n",
    "literal block": "steps:\n  a:\n    run: |\n      b\n\n      c\n{}\n\nname: x\n",
    "kept block": "steps:\n  a:\n    run: b\n    k: |+\n      c\n\n\n{}name: x\n",
    "folded block": "steps:\n  a:\n    run: >-\n      b\n      c\n{}",
    "no value": "steps:\n  a:\n{}name: x\n",
    "alias": "b: &b\n  run: c\nsteps:\n  a: *b\n{}name: x\n",
    "quotes": "'name': \"x\"\n\"steps\":\n  'a': {{'run': \"b\"}}\n{}",
    "plain over lines": "steps:\n  a:\n    run: b\n      c\n{}name: x\n",
    "list": "steps:\n  a:\n    run: b\n    env:\n    - A\n    - B\n{}axes: {{m: [1]}}\n",
    "steps without value": "name: x\nsteps:  # none\n{}seed: 1\n",
    "steps without value and comments": "steps:\n  # a: b\n{}\nseed: 1\n",
    "byte order mark": "\ufeffsteps:\n  a: {{run: b}}\n{}",
    "unicode": "name: 训练 😀\nsteps:\n  a: {{run: b}}\n{}",
    "variants too": "steps:\n  a: {{run: b}}\n{}variants:\n  s: {{steps.a.run: c}}\n",
}


@pytest.mark.parametrize("case", FILES)
def test_only_the_block_is_new(tmp_path: Path, case: str) -> None:
    form = FILES[case]
    old = form.format("")
    if case == "no newline at the end":
        old = old.rstrip("\n")
        assert added(tmp_path, old) == old + "\n" + BLOCK
    else:
        assert added(tmp_path, old) == form.format(BLOCK)


@pytest.mark.parametrize("case", FILES)
def test_crlf(tmp_path: Path, case: str) -> None:
    form = FILES[case]
    old = form.format("").replace("\n", "\r\n")
    assert added(tmp_path, old) == form.format(BLOCK).replace("\n", "\r\n")


def test_indentation_is_the_files(tmp_path: Path) -> None:
    old = "steps:\n    a:\n        run: b\n\n    # c\n    d:\n        run: e\nname: x\n"
    block = "".join(
        " " * (len(line) - len(line.lstrip())) + line + "\n" for line in BLOCK.splitlines()
    )
    assert added(tmp_path, old) == old.replace("name", "\n" + block + "name").replace(
        "\n\n\n", "\n\n"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", "steps:\n" + BLOCK),
        ("# nothing\n", "# nothing\nsteps:\n" + BLOCK),
        ("---\n", "---\nsteps:\n" + BLOCK),
        ("name: x\n", "name: x\nsteps:\n" + BLOCK),
        ("name: x\n# end\n", "name: x\n# end\nsteps:\n" + BLOCK),
        ("name: x\n...\n", "name: x\nsteps:\n" + BLOCK + "...\n"),
        ("steps: {}\nname: x\n", "steps:\n" + BLOCK + "name: x\n"),
        ("steps: {}   # none\nname: x\n", "steps:   # none\n" + BLOCK + "name: x\n"),
        ("steps: {}", "steps:\n" + BLOCK),
        ("steps: null\n", "steps:\n" + BLOCK),
    ],
)
def test_files_without_steps(tmp_path: Path, old: str, new: str) -> None:
    assert added(tmp_path, old) == new


@pytest.mark.parametrize(
    "old",
    [
        "steps: {a: {run: b}}\n",
        "{steps: {}}\n",
        "x: &x {a: {run: b}}\nsteps: *x\n",
        "steps: [a]\n",
        "[]\n",
    ],
)
def test_what_cannot_be_done_says_so_and_shows_the_block(tmp_path: Path, old: str) -> None:
    script, experiment = project(tmp_path, old)
    with pytest.raises(UserError) as caught:
        propose(script, experiment)
    if old != "[]\n":
        assert BLOCK in str(caught.value.problem.hint)
    assert experiment.read_text() == old


@pytest.mark.parametrize(
    "old",
    [
        '{"name": "x", "steps": {"a": {"run": "b"}}}',
        '{\n  "steps": {\n    "a": {"run": "b"}\n  },\n  "name": "x"\n}\n',
        '{\n\t"steps": {\n\t\t"a": {\n\t\t\t"run": "b}"\n\t\t}\n\t}\n}',
        '{\r\n    "name": "x",\r\n    "steps": {}\r\n}\r\n',
        '{\n  "name": "x"\n}\n',
        "{}",
        '{"steps": {\n}}',
    ],
)
def test_json(tmp_path: Path, old: str) -> None:
    new = added(tmp_path, old, "experiment.json")
    assert json.loads(new)["steps"]["fit"] == STEP
    # What was there is there still, in its order: the step was put in, nothing was taken out.
    rest = iter(new)
    assert all(char in rest for char in old)
    if "\t" in old:
        assert '\n\t\t"fit": {\n\t\t\t"run": ' in new
    assert ("\r\n" in old) == ("\r\n" in new)
    assert new.count("\n") == 0 or new.count("\r\n") in (0, new.count("\n"))


def test_a_block_at_the_end_that_minds_its_newline(tmp_path: Path) -> None:
    script, experiment = project(tmp_path, "steps:\n  a:\n    run: |\n      b")
    with pytest.raises(UserError, match="end it with a newline first"):
        propose(script, experiment)


def test_an_anchor_before_the_steps(tmp_path: Path) -> None:
    old = "x: &x\n  a: b\nsteps: &s\n  a: {run: b}\n"
    assert added(tmp_path, old) == old + BLOCK


def test_json_with_another_steps_is_refused(tmp_path: Path) -> None:
    script, experiment = project(tmp_path, '{"steps": []}', "experiment.json")
    with pytest.raises(UserError, match="not an object") as caught:
        propose(script, experiment)
    assert '"fit": {' in str(caught.value)


def test_names(tmp_path: Path) -> None:
    old = "steps:\n  fit: {run: a}\n  b: {run: 'c {inputs.x}', inputs: {x: other.csv}}\nstudies: {t: {}}\n"
    script, experiment = project(tmp_path, old)
    for name, what in ((None, "there is a step"), ("t", "there is a study"), ("1a", "not a name")):
        with pytest.raises(UserError, match=what):
            propose(script, experiment, name)
    with pytest.raises(UserError, match="would become a reference"):
        propose(script, experiment, "other")
    assert propose(script, experiment, "fit2").proposal.name == "fit2"


def test_inputs_and_references(tmp_path: Path) -> None:
    """A path that begins like a step is written as a path; what a step makes is a reference."""
    old = "steps:\n  a: {run: b, outputs: {train: t.csv}}\n"
    script, experiment = project(tmp_path, old)
    script.write_text(SCRIPT.replace("data/x.csv", "a.csv"))
    assert propose(script, experiment).proposal.inputs == {"data": "./a.csv"}
    script.write_text(SCRIPT.replace("data/x.csv", "fit.csv"))
    assert propose(script, experiment).proposal.inputs == {"data": "./fit.csv"}
    script.write_text(SCRIPT.replace("data/x.csv", "results/a/t.csv"))
    assert propose(script, experiment).proposal.inputs == {"data": "a.train"}
    script.write_text(
        SCRIPT.replace('"--data", default="data/x.csv"', '"train"').replace(".data", ".train")
    )
    found = propose(script, experiment).proposal
    assert found.inputs == {"train": "a.train"}
    assert any("check it" in note for note in found.notes)


def test_a_missing_input_is_said(tmp_path: Path) -> None:
    script, experiment = project(tmp_path, "")
    assert "The input data/x.csv is not there yet." in propose(script, experiment).proposal.notes
    (tmp_path / "data").mkdir()
    (tmp_path / "data/x.csv").touch()
    assert not propose(script, experiment).proposal.notes


def test_scripts_that_cannot_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    script, experiment = project(folder, "")
    outside = tmp_path / "o.py"
    outside.write_text("")
    latin, broken = folder / "l.py", folder / "b.py"
    latin.write_bytes(b"a = 1\nb = '\xe9'\n")
    broken.write_text("a = 1\nif a\n")
    for path, what, line in (
        (outside, "outside of the project", None),
        (folder / "no.py", "no such script", None),
        (folder, "this is a folder", None),
        (latin, "not UTF-8", 2),
        (broken, "not valid Python", 2),
    ):
        with pytest.raises(UserError, match=what) as caught:
            propose(path, experiment)
        place = caught.value.problem.where
        assert place is not None
        assert place.line == line
    with pytest.raises(UserError, match="no such experiment file"):
        propose(script, folder / "none.yaml")
    experiment.write_text("a: [\n")
    with pytest.raises(ExperimentError, match="not valid YAML"):
        propose(script, experiment)


def test_a_script_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _experiment = project(tmp_path, "")
    inner = tmp_path / "scripts" / "my fit.R"
    inner.parent.mkdir()
    inner.write_text("x <- 1\n")
    monkeypatch.chdir(inner.parent)
    found = propose(Path("my fit.R"), Path("../experiment.yaml")).proposal
    assert found.run == "Rscript 'scripts/my fit.R' | tee {outputs.printed}"


USES = """import os
print(os.environ["ML_EXPERIMENT_INPUTS_" + "X"])
open(os.environ["ML_EXPERIMENT_OUTPUTS_METRICS"], "w")
"""


def test_a_step_that_the_experiment_would_refuse_is_not_offered(tmp_path: Path) -> None:
    old = "name: x\nsteps:\n  a: {run: b, outputs: {c: d}}\n"
    script, experiment = project(tmp_path, old)
    script.write_text(USES)
    with pytest.raises(UserError, match="the step cannot be used as it is") as caught:
        propose(script, experiment)
    problem = caught.value.problem
    assert "steps.fit.outputs.metrics: the output's name metrics is taken" in problem.what
    assert "steps.a" not in problem.what
    assert "fit.metrics is the reference" in str(problem.hint)
    assert "      metrics: metrics\n" in str(problem.hint)  # the step, to be mended
    script.write_text(SCRIPT)
    with pytest.raises(UserError, match="a and A would be one folder"):
        propose(script, experiment, "A")
    assert experiment.read_text() == old
    assert sorted(os.listdir(tmp_path)) == ["experiment.yaml", "fit.py"]


@pytest.mark.parametrize(
    "old",
    [
        "steps:\n  a: {run: 'b {inputs.c}', outputs: {metrics: d}}\n",
        "name: x\nextends: no.yaml\n",
        "name: x\nsteps: null\nvariants: {s: {steps.a.run: c}}\n",
        "name: x\nsteps:\n  a: {like: b}\n  c: {run: d, inputs: {e: f.g}}\nunknown: 1\n",
    ],
)
def test_what_was_wrong_before_may_stay(tmp_path: Path, old: str) -> None:
    script, experiment = project(tmp_path, old)
    with pytest.raises(MLExperimentError):
        workspace.open_plan(experiment)
    write(propose(script, experiment))
    assert BLOCK in experiment.read_text()


def test_steps_of_the_extended_file_are_known(tmp_path: Path) -> None:
    script, experiment = project(tmp_path, "extends: base.yaml\n")
    (tmp_path / "base.yaml").write_text("name: x\nsteps: {fit: {run: a, outputs: {b: c}}}\n")
    with pytest.raises(UserError, match="there is a step"):
        propose(script, experiment)
    script.write_text(SCRIPT.replace("data/x.csv", "fit.csv"))
    write(propose(script, experiment, "other"))
    plan = workspace.open_plan(experiment)
    assert list(plan.steps) == ["fit", "other"]
    assert plan.steps["other"].step.inputs == {"data": "./fit.csv"}


def test_a_missing_input_that_is_spelt_nearly_like_a_step_stays_a_path(tmp_path: Path) -> None:
    script, experiment = project(tmp_path, "name: x\nsteps:\n  train: {run: a, outputs: {b: c}}\n")
    script.write_text(SCRIPT.replace("data/x.csv", "trains.csv"))
    found = propose(script, experiment)
    assert found.proposal.inputs == {"data": "./trains.csv"}
    assert any("not there yet" in note for note in found.proposal.notes)


def test_a_script_whose_path_cannot_be_written(tmp_path: Path) -> None:
    _, experiment = project(tmp_path, "name: x\n")
    for name in ("a\n.py", os.fsdecode(b"\xff.py")):
        (tmp_path / name).write_text(SCRIPT)
        with pytest.raises(UserError, match="rename it"):
            propose(tmp_path / name, experiment)


def prepared(folder: Path) -> tuple[Addition, Path]:
    script, experiment = project(folder, "name: x\n")
    return propose(script, experiment), experiment


@pytest.mark.parametrize("function", ["replace", "fsync", "chmod"])
def test_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    addition, experiment = prepared(tmp_path)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(UserError, match="No space left"):
        write(addition)
    assert experiment.read_bytes() == b"name: x\n"
    assert sorted(os.listdir(tmp_path)) == ["experiment.yaml", "fit.py"]


def test_a_file_that_changed_meanwhile_is_left(tmp_path: Path) -> None:
    addition, experiment = prepared(tmp_path)
    experiment.write_text("name: other\n")
    with pytest.raises(UserError, match="changed meanwhile"):
        write(addition)
    assert experiment.read_text() == "name: other\n"


def test_links_and_modes_stay(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    target = inner / "real.yaml"
    target.write_text("name: x\n")
    target.chmod(0o640)
    for folder in (inner, tmp_path):
        (folder / "fit.py").write_text(SCRIPT)
    link = tmp_path / "experiment.yaml"
    link.symlink_to("inner/real.yaml")
    with pytest.raises(UserError, match="outside of the project"):
        propose(tmp_path / "fit.py", link)  # paths begin where the file itself is
    write(propose(inner / "fit.py", link))
    assert "fit" in workspace.open_plan(link).steps
    assert link.is_symlink()
    assert target.read_text() == "name: x\nsteps:\n" + BLOCK
    assert target.stat().st_mode & 0o777 == 0o640


NAMES = st.sampled_from(["a", "b", "c-d", "e_f"])
NOISE = st.sampled_from(["", "\n", "# c\n", "  # c\n", "    # c\n", "\n\n", "#\n\n"])
BODY = st.sampled_from(
    [
        " {run: b}\n",
        "\n    run: b\n",
        "\n    run: |\n      b\n",
        "\n    run: >-\n      b\n      c\n",
        "\n    run: b # d\n    env: [A]\n",
        "\n    run: 'a\n      b'\n",
        "\n    env:\n    - A\n",
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(st.tuples(NAMES, BODY, NOISE), unique_by=lambda s: s[0], max_size=4),
    head=NOISE,
    tail=st.sampled_from(["", "name: x\n", "axes:\n  m: [1]\n# z\n"]),
    crlf=st.booleans(),
    cut=st.booleans(),
)
def test_insertion_changes_no_other_byte(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, str, str]],
    head: str,
    tail: str,
    crlf: bool,
    cut: bool,
) -> None:
    text = head + "steps:\n" + "".join(f"  {n}:{b}{c}" for n, b, c in steps) + tail
    if cut and not (steps and tail == "" and "|" in steps[-1][1]):  # `|` minds its last newline
        text = text.rstrip("\n")
    text = text.replace("\n", "\r\n") if crlf else text
    folder = tmp_path_factory.mktemp("p")
    new = added(folder, text)
    block = BLOCK.replace("\n", "\r\n") if crlf else BLOCK
    newline = "\r\n" if crlf else "\n"
    assert block in new
    before, after = new.split(block)
    kept = {before + after}
    if before.endswith(newline):  # the last line got an end, or a blank line sets the step apart
        kept.add(before[: -len(newline)] + after)
        kept.add(before[: -len(newline)].removesuffix(newline) + after)
    assert text in kept
