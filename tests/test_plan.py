"""What a step becomes: paths, matching jobs, seeds and keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ml_experiment import seeds, workspace
from ml_experiment.plan import Plan
from tests.experiments import plan

TEXT = (
    "seed: 5\n"
    "axes: {size: [1, 2], method: [x, y]}\n"
    "steps:\n"
    "  one: {run: 'x {outputs.o}', outputs: {o: o.txt}}\n"
    "  many: {run: 'x {metrics} {inputs.o} {matrix.size}', metrics: m.json, matrix: [size],\n"
    "         replicates: 2, inputs: {o: one.o}}\n"
    "  next: {run: 'x {metrics} {inputs.m}', metrics: m.json, matrix: [method, size],\n"
    "         replicates: 2, inputs: {m: many.metrics}}\n"
    "  all-of: {run: 'x {metrics} {inputs.m} {inputs.t} {inputs.l}', metrics: m.json,\n"
    "           inputs: {m: many.metrics, t: many.table, l: [one.o, ./a.csv]}}\n"
    "  listed: {run: 'x {metrics}', metrics: m.json, replicates: {seeds: [7, 3]}}\n"
    "  quiet: {run: 'x {metrics}', metrics: m.json, seeding: none}\n"
)


def test_inputs_find_their_jobs(tmp_path: Path) -> None:
    made = plan(tmp_path, TEXT)
    jobs = {job.id: made.inputs(job) for job in made.all_jobs()}
    assert jobs["many/size=1/seed-0"] == {"o": "results/one/o.txt"}
    assert jobs["next/method=y,size=2/seed-1"] == {"m": "results/many/size=2/seed-1/m.json"}
    assert jobs["all-of"] == {
        "m": [f"results/many/size={s}/seed-{r}/m.json" for s in (1, 2) for r in (0, 1)],
        "t": "results/many/table.csv",
        "l": ["results/one/o.txt", "a.csv"],
    }
    assert list(jobs)[:6] == [
        "one",
        *(f"many/size={s}/seed-{r}" for s in (1, 2) for r in (0, 1)),
        "next/method=x,size=1/seed-0",
    ]
    job = made.job("next", {"size": "2", "method": "x", "replicate": "1"})
    assert job.id == "next/method=x,size=2/seed-1"
    with pytest.raises(KeyError):
        made.job("next", {"size": "3", "method": "x", "replicate": "1"})


def test_one_replicate_is_still_a_list(tmp_path: Path) -> None:
    text = TEXT.replace("replicates: 2", "replicates: 1").replace("[1, 2]", "[1]")
    made = plan(tmp_path, text)
    assert made.inputs(next(made.jobs(made.steps["all-of"])))["m"] == [
        "results/many/size=1/seed-0/m.json"
    ]


def test_seeds_depend_on_root_stream_and_replicate_only(tmp_path: Path) -> None:
    made = plan(tmp_path, TEXT)
    got = {job.id: made.seed(job) for job in made.all_jobs()}
    for size in (1, 2):
        for replicate in (0, 1):
            assert got[f"many/size={size}/seed-{replicate}"] == seeds.derive(5, "many", replicate)
    assert [got["listed/seed-7"], got["listed/seed-3"], got["quiet"]] == [7, 3, None]
    assert got["one"] == seeds.derive(5, "one", 0)


def test_seeds_do_not_depend_on_file_variant_or_values(tmp_path: Path) -> None:
    first = plan(tmp_path, TEXT)
    other = tmp_path / "else.yaml"
    other.write_text(
        "name: other\n"
        + TEXT.replace("size: [1, 2]", "size: [1, 8]")
        + "variants: {v: {axes.method: [q]}}\n"
    )
    second = workspace.open_plan(other, {"variant": "v"})
    assert second.results == "results-else-v"
    for name in ("one", "many", "all-of"):
        for a, b in zip(
            first.jobs(first.steps[name]), second.jobs(second.steps[name]), strict=True
        ):
            assert first.seed(a) == second.seed(b)


def test_seed_as_shares_a_stream(tmp_path: Path) -> None:
    made = plan(
        tmp_path, TEXT.replace("metrics: m.json, seeding: none", "metrics: m.json, seed_as: one")
    )
    seed = {job.id: made.seed(job) for job in made.all_jobs()}
    assert seed["quiet"] == seed["one"]


# ---- keys -----------------------------------------------------------------------------------

FIT = (
    "params: {shared: 1}\n"
    "axes: {size: [1, 2]}\n"
    "steps:\n"
    "  fit: {run: 'x {metrics} {params.C} {params.D}', metrics: m.json, params: {C: 1, D: 2}}\n"
    "  grid: {run: 'x {metrics} {inputs.i}', metrics: m.json, matrix: [size], replicates: 2,\n"
    "         inputs: {i: fit.metrics}}\n"
)


def texts(folder: Path, text: str, **overrides: Any) -> dict[str, str]:
    return workspace.key_texts(plan(folder, text, overrides or None))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{C: 1, D: 2}", "{C: 2, D: 1}"),
        ("{C: 1, D: 2}", "{C: 1.0, D: 2}"),
        ("{C: 1, D: 2}", "{C: true, D: 2}"),
        ("{C: 1, D: 2}", "{C: '1', D: 2}"),
        ("{C: 1, D: 2}", "{C: [1], D: 2}"),
        ("params.C} {params.D}', metrics: m.json, params: {C", "params.E} {params.D}', metrics: m.json, params: {E"),
        ("{params.C} {params.D}", "{params.D} {params.C}"),
        ("{params.D}", "{params.D} {params.shared}"),
        ("D: 2}}", "D: 2}, threads: 2}"),
        ("D: 2}}", "D: 2}, gpus: 1}"),
        ("D: 2}}", "D: 2}, seeding: variables}"),
        ("D: 2}}", "D: 2}, seeding: none}"),
        ("D: 2}}", "D: 2}, seed_as: other}"),
        ("D: 2}}", "D: 2}, inputs: {i: ./a.csv}}"),
        ("params: {shared", "seed: 1\nparams: {shared"),
    ],
)  # fmt: skip
def test_what_changes_a_key(tmp_path: Path, old: str, new: str) -> None:
    assert old in FIT
    name = ".ml_experiment/keys/fit.json"
    changed = FIT.replace(old, new, 1)
    if "inputs" in new:
        changed = changed.replace("{params.D}", "{params.D} {inputs.i}")
    assert texts(tmp_path, changed)[name] != texts(tmp_path, FIT)[name]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{C: 1, D: 2}", "{D: 2, C: 1}"),
        ("run: 'x {metrics} {params.C} {params.D}', metrics: m.json", "metrics: m.json, run: 'x {metrics} {params.C} {params.D}'"),
        ("shared: 1", "shared: 2"),
        ("D: 2}}", "D: 2}, mem_mb: 100, retries: 2, timeout: 1h, env: [HOME]}"),
        ("[1, 2]", "[1, 2, 3]"),
        ("[1, 2]", "[2, 1]"),
        ("params: {shared", "name: other\nparams: {shared"),
    ],
)  # fmt: skip
def test_what_leaves_the_keys_as_they_are(tmp_path: Path, old: str, new: str) -> None:
    assert old in FIT
    before, after = texts(tmp_path, FIT), texts(tmp_path, FIT.replace(old, new, 1))
    for name, text in before.items():
        assert name.endswith("grid.table.json") or after[name] == text


def test_more_replicates_and_values_change_no_other_job(tmp_path: Path) -> None:
    before = texts(tmp_path, FIT)
    for old, new in (("replicates: 2", "replicates: 9"), ("[1, 2]", "[0, 1, 2, 3]")):
        after = texts(tmp_path, FIT.replace(old, new))
        assert {k: v for k, v in after.items() if k in before and "table" not in k} == {
            k: v for k, v in before.items() if "table" not in k
        }


def test_keys_follow_the_code(tmp_path: Path) -> None:
    text = "steps: {a: {run: 'python s.py {metrics}', metrics: m}}\n"
    made = [
        plan(tmp_path, text, s_py="import helper", helper_py=body) for body in ("x = 1", "x = 2 ")
    ]
    keys = [next(iter(workspace.key_texts(entry).values())) for entry in made]
    assert keys[0] == keys[0] != keys[1] or made[0] is made[1]
    assert '"helper.py"' in keys[1]


def test_a_key_can_be_read(tmp_path: Path) -> None:
    text = texts(tmp_path, FIT)[".ml_experiment/keys/fit.json"]
    assert text.startswith('{\n "code": {},\n "environment": null,\n')
    assert text.endswith("\n}\n")


def test_write_keys_keeps_the_time_of_what_is_right(tmp_path: Path) -> None:
    made: Plan = plan(tmp_path, FIT)
    workspace.write_keys(made)
    files = sorted((tmp_path / ".ml_experiment" / "keys").rglob("*"))
    before = {file: file.stat().st_mtime_ns for file in files if file.is_file()}
    workspace.write_keys(plan(tmp_path, FIT))
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert len(before) == 4
