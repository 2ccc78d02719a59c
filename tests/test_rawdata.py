"""Raw data in the experiment: what `data:` may say, what refers to it, and its .dvc files."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_experiment import rawdata
from ml_experiment.errors import UserError
from tests.experiments import plan, problems

STEP = """\
steps:
  count: {run: "wc {inputs.table} > {outputs.lines}", inputs: {table: data.raw}, outputs: {lines: l}}
"""
SOURCE = "https://example.org/raw.csv"


def test_an_input_is_the_path_of_the_data(tmp_path: Path) -> None:
    made = plan(tmp_path, f"data: {{raw: {{path: ./data/raw.csv, from: '{SOURCE}'}}}}\n{STEP}")
    (job,) = made.all_jobs()
    assert made.needs(job) == ["data/raw.csv"]
    assert made.experiment.data["raw"].source == SOURCE


def test_without_data_it_is_a_file_or_a_step(tmp_path: Path) -> None:
    made = plan(tmp_path, STEP)
    (job,) = made.all_jobs()
    assert made.needs(job) == ["data.raw"]
    step = '  data: {run: "x {outputs.raw}", outputs: {raw: r}}\n'
    made = plan(tmp_path, STEP + step)
    assert made.needs(next(iter(made.jobs(made.steps["count"])))) == ["results/data/r"]
    (told,) = problems(tmp_path, f"data: {{other: {{path: o}}, raw: {{path: r}}}}\n{STEP}{step}")
    assert (told.key, told.what) == ("steps.data", "this name is taken")


def test_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = (
        """\
data:
  rwa: {path: data/raw.csv}
  out: {path: ../raw.csv}
  ours: {path: results/raw.csv}
  same: {path: data/raw.csv}
  inside: {path: data}
  form: {path: x, md5: 12, form: y}
  deep: {path: z, from: {repo: r}}
"""
        + STEP
    )
    told = {(p.key, p.what) for p in problems(tmp_path, text)}
    assert told == {
        ("data.out.path", "no place for raw data"),
        ("data.ours.path", "no place for raw data"),
        ("data.same.path", "rwa and same are one file"),
        ("data.inside.path", "rwa and inside are one inside the other"),
        ("data.inside.path", "same and inside are one inside the other"),
        ("data.form.md5", "wrong type"),
        ("data.form.form", "unknown key"),
        ("data.deep.from.path", "the key `path` is missing"),
        ("steps.count.inputs.table", "no such raw data"),
    }
    hints = {p.key: p.hint for p in problems(tmp_path, text)}
    assert hints["data.form.form"] == "did you mean from?"
    assert hints["steps.count.inputs.table"] == "did you mean rwa? A file: ./data.raw"


def test_a_reference_to_data_that_cannot_be_read_says_nothing_more(tmp_path: Path) -> None:
    (told,) = problems(tmp_path, f"data: {{raw: {{path: 3}}}}\n{STEP}")
    assert (told.key, told.expected) == (
        "data.raw.path",
        "where it is in the project, such as data/raw.csv",
    )


@pytest.mark.parametrize(
    ("dep", "origin"),
    [
        ("path: ../../outside/raw.csv", "../outside/raw.csv"),
        ("path: /abs/raw.csv", "/abs/raw.csv"),
        (f"path: {SOURCE}", SOURCE),
        (
            "path: d/u.csv\n  repo:\n    url: https://example.org/r\n    rev_lock: 0123456789abcdef",
            "d/u.csv of https://example.org/r at 0123456789ab",
        ),
    ],
)
def test_a_dvc_file_says_where_data_came_from(tmp_path: Path, dep: str, origin: str) -> None:
    (tmp_path / "data").mkdir()
    file = tmp_path / "data/raw.csv.dvc"
    file.write_text(f"deps:\n- {dep}\nouts:\n- md5: {'a' * 32}\n  path: raw.csv\n")
    assert rawdata.kept(tmp_path, "data/raw.csv") == ("a" * 32, origin)
    assert rawdata.holder(tmp_path, "data/raw.csv") == "data/raw.csv"
    assert rawdata.holder(tmp_path, "data/raw.csv/part") == "data/raw.csv"
    assert rawdata.holder(tmp_path, "data/other.csv") is None


@pytest.mark.parametrize("text", ["", "outs: 3", "outs: [1]", "a: [", "outs: []", "[1]"])
def test_what_is_no_file_of_dvcs_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "raw.csv.dvc").write_text(text)
    with pytest.raises(UserError, match=r"raw\.csv\.dvc: no file of DVC's"):
        rawdata.kept(tmp_path, "raw.csv")


def test_only_folders_of_the_project_are_looked_into(tmp_path: Path) -> None:
    """Not the project itself, what runs write, or the whole machine, which would not end."""
    named = [
        "data/in",
        "/",
        ".",
        "..",
        "./",
        "results",
        "results/other",
        ".snakemake/x",
        "../beside",
    ]
    for path in named:
        (tmp_path / "p" / path).mkdir(parents=True, exist_ok=True)
    inputs = ", ".join(f"i{number}: '{path}'" for number, path in enumerate(named))
    used = " ".join(f"{{inputs.i{number}}}" for number in range(len(named)))
    step = f'{{run: "x {used} > {{outputs.o}}", inputs: {{{inputs}}}, outputs: {{o: o}}}}'
    made = plan(tmp_path / "p", f"steps: {{a: {step}}}\n")
    assert set(made.folders) == {"data/in"}
