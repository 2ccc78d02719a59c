"""Metrics in every form that a step may write, and what is said of files that are none."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_experiment import metrics
from ml_experiment.errors import UserError
from ml_experiment.metrics import Point

Files = dict[str, str]
Curve = Sequence[tuple[int, float]]

NUMBERS = st.floats() | st.integers(-(2**53), 2**53)
NAMES = st.text(st.characters(codec="ascii", categories=["L"]), min_size=1).filter(
    lambda name: name.lower() not in {*metrics.STEPS, "nan", "inf", "infinity", "true", "false"}
)
CURVES = st.dictionaries(NAMES, st.lists(NUMBERS, min_size=1), min_size=1)


def read(folder: Path, text: str, name: str = "m.json") -> metrics.Metrics:
    (folder / name).write_text(text, "utf-8")
    return metrics.read(folder / name)


def equal(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def same(curve: Curve, expected: Curve) -> bool:
    pairs = zip(curve, expected, strict=True)
    return all(a[0] == b[0] and equal(a[1], b[1]) for a, b in pairs)


def check(found: metrics.Metrics, expected: dict[str, Curve]) -> None:
    """`expected` has each name's points; names that have one point are no curves."""
    assert list(found.final) == list(expected)
    for name, points in expected.items():
        assert equal(found.final[name], points[-1][1])
        assert (name in found.curves) == (len(points) > 1)
        assert same(found.curves.get(name, points), points)


@pytest.mark.parametrize(
    ("text", "final"),
    [
        ('{"b": 0.5, "a": 3}', {"b": 0.5, "a": 3}),
        ("{}", {}),
        ('{"a": true, "b": false}', {"a": 1.0, "b": 0.0}),
        ('{"train": {"loss": 1, "by": {"x": 2}}, "t": 3}', {"train/loss": 1, "train/by/x": 2, "t": 3}),
        ('{"a": Infinity, "b": -Infinity, "c": 1e999}', {"a": math.inf, "b": -math.inf, "c": math.inf}),
        ('{"a": [], "b": [1], "c": {}}', {"b": 1}),
        ('\ufeff{"a": 1}', {"a": 1}),
    ],
)  # fmt: skip
def test_json(tmp_path: Path, text: str, final: dict[str, float]) -> None:
    found = read(tmp_path, text)
    assert (found.final, found.curves) == (final, {})
    assert list(found.final) == list(final)


def test_a_list_is_a_curve(tmp_path: Path) -> None:
    found = read(tmp_path, '{"train": {"loss": [3, 2.5, true]}, "best": 2}', "metrics")
    assert found.final == {"train/loss": 1.0, "best": 2}
    assert found.curves == {"train/loss": (Point(0, 3), Point(1, 2.5), Point(2, 1.0))}


@pytest.mark.parametrize(
    ("text", "curves", "final"),
    [
        ("step,loss\n0,3\n1,2\n", {"loss": [(0, 3), (1, 2)]}, {"loss": 2}),
        ("loss\n3\n2\n", {"loss": [(0, 3), (1, 2)]}, {"loss": 2}),
        ("a,b\n1,2\n", {}, {"a": 1, "b": 2}),
        ("step,loss\n", {}, {}),
        # The first of step, epoch, iteration counts; the others are curves like any other.
        ("epoch,Step,loss\n0,10,3\n1,20,2\n", {"epoch": [(10, 0), (20, 1)], "loss": [(10, 3), (20, 2)]}, {"epoch": 1, "loss": 2}),
        ("iteration,epoch,x\n7,1.0,3\n8,2.0,2\n", {"iteration": [(1, 7), (2, 8)], "x": [(1, 3), (2, 2)]}, {"iteration": 8, "x": 2}),
        # Not every column has a point in every row: Lightning, R, and pandas' index.
        (",step,a,b\n0,1,,5\n1,1,4,\n2,2,NA,6\n", {"b": [(1, 5), (2, 6)]}, {"a": 4, "b": 6}),
        # Texts are no metrics; a column without anything is none.
        ('step,when,model,a,none\n0,2026-11-23,"big, deep",1,\n1,2026-11-24,"b",2,\n', {"a": [(0, 1), (1, 2)]}, {"a": 2}),
        ("x,y\nnan,inf\n-Infinity,TRUE\n", {"x": [(0, math.nan), (1, -math.inf)], "y": [(0, math.inf), (1, 1)]}, {"x": -math.inf, "y": 1}),
        # A training that was interrupted and began with epoch 1 again.
        ("epoch,loss\n0,9\n1,8\n1,7\n2,6\n", {"loss": [(0, 9), (1, 7), (2, 6)]}, {"loss": 6}),
        ("step,loss\n2,6\n0,9\n", {"loss": [(0, 9), (2, 6)]}, {"loss": 6}),
        ("\ufeffstep,loss\n1,3\n2,2\n", {"loss": [(1, 3), (2, 2)]}, {"loss": 2}),
        (" step , loss \r\n 0 , 3 \r\n 1 , 2 \r\n\r\n", {"loss": [(0, 3), (1, 2)]}, {"loss": 2}),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("name", "comma"), [("m.csv", ","), ("M.TSV", "\t")])
def test_tables(
    tmp_path: Path,
    text: str,
    curves: dict[str, Curve],
    final: dict[str, float],
    name: str,
    comma: str,
) -> None:
    found = read(tmp_path, text.replace(",", comma), name)
    assert list(found.curves) == list(curves)
    assert all(same(found.curves[name], points) for name, points in curves.items())
    assert found.final == final


@given(values=st.dictionaries(st.text(), st.lists(NUMBERS, min_size=1) | NUMBERS | st.booleans()))
def test_json_is_read_as_written(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, list[float] | float]
) -> None:
    folder = tmp_path_factory.mktemp("json")
    listed = {name: v if isinstance(v, list) else [v] for name, v in values.items()}
    check(read(folder, json.dumps(values)), {name: [*enumerate(v)] for name, v in listed.items()})
    nested = {"a": {"b": values}}
    found = read(folder, json.dumps(nested))
    check(found, {f"a/b/{name}": [*enumerate(v)] for name, v in listed.items()})


@given(
    curves=CURVES,
    counted=st.sampled_from([*metrics.STEPS, None]),
    ending=st.sampled_from([".csv", ".tsv"]),
    data=st.data(),
)
def test_tables_are_read_as_written(
    tmp_path_factory: pytest.TempPathFactory,
    curves: dict[str, list[float]],
    counted: str | None,
    ending: str,
    data: st.DataObject,
) -> None:
    """Whatever the order of the rows: points come by step, each with its value."""
    length = max(map(len, curves.values()))
    steps = list(range(length))
    if counted is not None:
        some = st.lists(st.integers(-(2**63) + 1, 2**62), min_size=length, max_size=length)
        steps = data.draw(some.filter(lambda steps: len(set(steps)) == length))
    rows = [
        {**({counted: step} if counted else {}), **{n: v[i] for n, v in curves.items() if i < len(v)}}
        for i, step in enumerate(steps)
    ]  # fmt: skip
    text = io.StringIO()
    header = list(dict.fromkeys([*([counted] if counted else []), *curves]))
    writer = csv.DictWriter(text, header, delimiter=metrics.TABLES[ending])
    writer.writeheader()
    writer.writerows(rows)
    found = read(tmp_path_factory.mktemp("table"), text.getvalue(), f"m{ending}")
    check(found, {n: sorted(zip(steps, v, strict=False)) for n, v in curves.items()})


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in: DVCLive makes a DVC repository of the git repository around it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.engine("dvclive")
def test_what_dvclive_writes(outside: Path) -> None:
    from dvclive.live import Live

    with Live("live", save_dvc_exp=False, dvcyaml=None) as live:
        live.log_param("rate", 0.1)
        for step in range(3):
            live.log_metric("train/loss", 1 / (step + 1))
            live.log_metric("train/deep/acc.top", step, timestamp=True)
            live.log_metric("odd", [math.nan, math.inf, -math.inf][step])
            live.log_metric("stage", "training")
            live.log_metric("seen", step, plot=False)
            live.log_metric("epoch", step * 2)
            live.next_step()
        live.log_metric("test", 0.5)
    found = metrics.read(outside / "live")
    check(
        found,
        {
            "train/loss": [(0, 1.0), (1, 0.5), (2, 1 / 3)],
            "train/deep/acc.top": [(0, 0), (1, 1), (2, 2)],
            "odd": [(0, math.nan), (1, math.inf), (2, -math.inf)],
            "seen": [(2, 2)],
            "epoch": [(0, 0), (1, 2), (2, 4)],
            "test": [(3, 0.5)],
        },
    )
    assert metrics.find([outside, outside / "live"]) == outside / "live"


@pytest.mark.engine("dvclive")
def test_dvclive_going_on_by_itself(outside: Path) -> None:
    """An epoch that was logged and not saved comes twice; the last value counts."""
    from dvclive.live import Live

    for first, values in ((0, [9, 8, 7]), (2, [6, 5])):
        with Live("live", resume=first > 0, save_dvc_exp=False, dvcyaml=None) as live:
            live.step = first
            for value in values:
                live.log_metric("loss", value)
                live.next_step()
    check(metrics.read(outside / "live"), {"loss": [(0, 9), (1, 8), (2, 6), (3, 5)]})


DVCLIVE = {
    "metrics.json": '{"a": 1, "step": 5}',
    "plots/metrics/a.tsv": "timestamp\tstep\ta\n9\t0\t3\n9\t5\t2\n",
}


def folder_of(folder: Path, files: Files) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return folder


def test_dvclives_summary_has_the_last_word(tmp_path: Path) -> None:
    found = metrics.read(folder_of(tmp_path, DVCLIVE))
    assert found == metrics.Metrics({"a": 1}, {"a": (Point(0, 3), Point(5, 2))})
    (tmp_path / "metrics.json").unlink()  # killed before it was written
    assert metrics.read(tmp_path).final == {"a": 2}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("m.json", "", "not a metrics file: Expecting value"),
        ("m.json", "[1]", "not a metrics file\n    value:    [1]"),
        ("m.json", "3", "not a metrics file"),
        ("m.json", "{", "not a metrics file"),
        ("m.json", "[" * 100_000, "not a metrics file: maximum recursion depth"),
        ("m.json", '{"a": "b", "b": 1, "c": {"d": null}}', "the metric a is not a number: b; the metric c/d is not a number: None\n"),
        ("m.json", '{"a": [1, [2]]}', "the metric a is not a number: [2]"),
        ("m.json", '{"a": 1' + "0" * 400 + "}", "the metric a is not a number: 1000"),
        ("m.json", '{"a/b": 1, "a": {"b": 2}}', "there are two metrics a/b"),
        ("m.json", json.dumps(dict.fromkeys("abcdefgh")), "the metric e is not a number: None; and 3 more\n"),
        ("m.csv", "", "it has no line with the names of the columns"),
        ("m.csv", "0,0.5\n1,0.25\n", "its first line holds numbers in the place of names: ['0', '0.5']"),
        ("m.csv", "a,b,a\n1,2,3\n", "there are two columns a"),
        ("m.csv", "who,why\nme,this\n", "no column holds numbers"),
        ("m.csv", "step\tloss\n0\t1\n", "no column holds numbers"),
        ("m.csv", "step,a,b\n0,1,2\n1,x\n2,y,3\nz,1,1\n", "line 3 has 2 cells, the header has 3; line 5: the step 'z' is no whole number; line 4: the a 'y' is no number"),
        ("m.csv", "epoch,a\n0.5,1\n", "line 2: the step '0.5' is no whole number"),
        ("m.csv", "step,a\n,1\nnan,2\n1e300,2\n", "line 2: the step '' is no whole number; line 3: the step 'nan' is no whole number; line 4: the step '1e300'"),
        ("m.csv", "a\n1\n1_000\n", "line 3: the a '1_000' is no number"),
        ("m.csv", "a\n" + "1" * 200_000, "not a metrics file: field larger"),
        ("live/metrics.json", "[]", "live/metrics.json: not a metrics file"),
        ("live/metrics.json", '{"a": {"b": null}}', "live: the metric a/b is not a number"),
        ("live/plots/metrics/t/a.tsv", "step\ta\n0\t1\n1\tx\n", "live: plots/metrics/t/a.tsv: line 3: the a 'x' is no number"),
        ("live/a.txt", "", "live: not a metrics file: neither metrics.json nor plots/metrics"),
    ],
)  # fmt: skip
def test_no_metrics(tmp_path: Path, name: str, text: str, words: str) -> None:
    path = folder_of(tmp_path, {name: text}) / Path(name).parts[0]
    with pytest.raises(UserError) as error:
        metrics.read(path)
    assert words in str(error.value)
    assert str(path) in str(error.value)
    assert "expected:" in str(error.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    for name in ("m.json", "m.csv"):
        (tmp_path / name).write_bytes(b"\xff\xfe\n1\n")
        with pytest.raises(UserError, match=f"{name}: not a metrics file"):
            metrics.read(tmp_path / name)
        (tmp_path / name).unlink()
        with pytest.raises(UserError, match=f"{name}: not a metrics file: .*No such file"):
            metrics.read(tmp_path / name)


@pytest.mark.parametrize("name", ["m.json", "m.csv", "live/metrics.json"])
def test_a_file_that_is_too_large(tmp_path: Path, name: str) -> None:
    folder_of(tmp_path, {name: ""})
    with (tmp_path / name).open("r+b") as file:
        file.truncate(metrics.MAX_SIZE + 1)  # takes no room on the disk
    with pytest.raises(UserError, match=r"it has 64\.0 MB, and at most 64 MB are read"):
        metrics.read(tmp_path / Path(name).parts[0])


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["model.pt", "metrics.json"], "metrics.json"),
        (["a/train_Metrics.CSV", "metrics.json"], "a/train_Metrics.CSV"),
        (["metrics.tsv"], "metrics.tsv"),
        (["metrics/scores.json", "metrics.png", "metrics", "plots.csv"], None),
        ([], None),
    ],
)
def test_what_looks_like_metrics(names: list[str], found: str | None) -> None:
    assert metrics.find([Path(name) for name in names]) == (Path(found) if found else None)


def test_which_folders_look_like_metrics(tmp_path: Path) -> None:
    for name, files in {
        "summary": {"metrics.json": "{}"},
        "curves": {"plots/metrics/a.tsv": ""},
        "params": {"metrics.json": "{}", "params.yaml": ""},
        "live": DVCLIVE,
    }.items():
        folder_of(tmp_path / name, files)
    found = [metrics.find([tmp_path / name]) for name in ("summary", "curves", "params", "live")]
    assert found == [None, None, tmp_path / "params", tmp_path / "live"]
