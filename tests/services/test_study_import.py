"""Trials of an Optuna storage become the first ones of a study; the storage stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

from ml_experiment import space, workspace
from ml_experiment.adapters import optuna_import
from ml_experiment.cli import main as cli
from ml_experiment.errors import UserError
from ml_experiment.services.study_import import Import, placed, propose
from tests.experiments import write

STEP = """\
steps:
  fit:
    run: python fit.py {params.C} {params.kind} {params.depth} {metrics}
    params: {C: 1.0, kind: a, depth: 1}
    metrics: metrics.json
"""
TEXT = f"""{STEP}
studies:
  tune:
    step: fit
    space:
      C: {{float: [0.001, 1000], log: true}}
      kind: [a, b]
    objectives: {{loss: minimize}}
    trials: 4
"""
KINDS = optuna.distributions.CategoricalDistribution(["a", "b", "c"])
WIDE = optuna.distributions.FloatDistribution(0, 1e6)


def storage(kind: str, file: Path) -> str | BaseStorage:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return (
        f"sqlite:///{file}" if kind == "sqlite" else JournalStorage(JournalFileBackend(str(file)))
    )


def tried(to: str | BaseStorage, name: str = "old", *, up: bool = False) -> None:
    """A study of seven trials, one of them not complete."""
    study = optuna.create_study(
        storage=to, study_name=name, direction="maximize" if up else "minimize"
    )
    values = [(0.3, 1.0, "a"), (0.1, 2.0, "b"), (0.0, 3.0, "c"), (0.2, 5000.0, "a"), (0.4, 2.0, "b"),
              (0.5, 4.0, "a")]  # fmt: skip
    for value, c, kind in values:
        study.add_trial(
            create_trial(
                params={"C": c, "kind": kind},
                distributions={"C": WIDE, "kind": KINDS},
                value=value,
            )
        )
    study.add_trial(create_trial(state=TrialState.FAIL))


def asked(folder: Path, where: str, text: str = TEXT, **options: Any) -> Import:
    file = write(folder, text, fit_py="")
    return propose(workspace.open_plan(file), file, "tune", where, **options)


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_the_best_come_first_and_nothing_is_written_there(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "stor" / "old 100%#?.x"  # characters of addresses
    file.parent.mkdir()
    plain = tmp_path / "stor" / "plain"
    tried(storage(kind, plain))
    plain.rename(file)
    before = file.read_bytes()
    file.chmod(0o400)
    made = asked(tmp_path, str(file))
    assert [(each.number, dict(each.point)) for each in made.taken] == [
        (1, {"C": 2.0, "kind": "b"}),
        (0, {"C": 1.0, "kind": "a"}),
        (5, {"C": 4.0, "kind": "a"}),
    ]
    assert made.left == {
        "kind is not one of a, b": [2],
        "C is not from 0.001 to 1000": [3],
        "the same as another one": [4],
    }
    assert (made.study, made.ordered, made.others) == ("old", True, 1)
    assert (file.read_bytes(), [each.name for each in file.parent.iterdir()]) == (
        before, [file.name],
    )  # fmt: skip


def test_as_many_as_there_is_room_for(tmp_path: Path) -> None:
    tried(storage("sqlite", tmp_path / "old.db"), up=True)
    where = f"sqlite:///{tmp_path / 'old.db'}"
    made = asked(tmp_path, where, most=2)
    assert [each.number for each in made.taken] == [5, 4]
    assert made.left["more than 2"] == [0]
    held = TEXT + "    enqueue: [{C: 1.0}, {C: 4.0, kind: a}, {C: 3.0}]\n"
    made = asked(tmp_path, where, held)
    assert [each.number for each in made.taken] == [4]
    assert made.left["no trial of this study is left for them"] == [0]
    assert (made.first, made.again) == (3, 0)


def test_the_file_that_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried(storage("sqlite", tmp_path / "old.db"))
    file = write(tmp_path, TEXT + "  # the end\n", fit_py="")
    before = file.read_text()
    monkeypatch.chdir(tmp_path)
    words = ["studies", "tune", "--import", "old.db", "--at-most", "1"]
    assert cli.main([*words, "--dry-run"]) == 0
    assert file.read_text() == before
    shown = capsys.readouterr().out
    assert cli.main(words) == 0
    assert capsys.readouterr().out == shown.replace("would be added", "added")
    assert shown == (
        """\
would be added to studies.tune.enqueue in experiment.yaml, of old, the best first:
  - {C: 2.0, kind: b}  # trial 1: 0.1
left out, kind is not one of a, b: trial 2
left out, C is not from 0.001 to 1000: trial 3
left out, more than 1: trials 0, 5
left out, the same as another one: trial 4
left out, not complete: 1
next: ml-experiment run tune
"""
    )
    new = "    enqueue:\n      - {C: 2.0, kind: b}\n"
    assert file.read_text() == before.replace("  # the end", new + "  # the end")


def test_the_cases_of_a_study(tmp_path: Path) -> None:
    tried(storage("sqlite", tmp_path / "old.db"))
    where = str(tmp_path / "old.db")
    text = TEXT.replace("metrics: metrics.json", "metrics: metrics.json\n    matrix: [kernel]")
    text = f"axes: {{kernel: [rbf, poly]}}\n{text}    cases:\n      kernel:\n        rbf: "
    small = text + "{space: {C: {float: [1.5, 9]}}}\n"
    made = asked(tmp_path, where, small)
    assert made.left["kind is not searched here"] == [2, 1, 3, 0, 4, 5]
    own = text + "{window: 2, enqueue: [{C: 7.0}]}\n"
    with pytest.raises(UserError, match="--case kernel=rbf"):
        asked(tmp_path, where, own)
    made = asked(tmp_path, where, own, case="kernel=rbf")
    assert made.change is not None
    assert b"enqueue: [{C: 7.0}, {C: 2.0, kind: b},\n" in made.change.new
    assert made.change.key == "studies.tune.cases.kernel.rbf.enqueue"
    with pytest.raises(UserError, match=r"studies.tune.cases.kernel.poly is not written in this"):
        asked(tmp_path, where, own, case="kernel=poly")


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_study_that_is_not_there(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "old"
    optuna.create_study(storage=storage(kind, file), study_name="first")
    assert asked(tmp_path, str(file)).taken == ()
    with pytest.raises(UserError, match="did you mean first"):
        optuna_import.read(str(file), "fist")
    optuna.create_study(storage=storage(kind, file), study_name="second")
    with pytest.raises(UserError, match="say which, with --study-name: first, second"):
        optuna_import.read(str(file), None)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("nothing.db", None),
        ("text.log", b"no journal\n"),
        ("half.log", b'{"op_code": 0, "worker_id": "a"}\n'),
        ("broken.db", b"SQLite format 3\0" + b"x" * 100),
        ("empty.log", b""),
    ],
)
def test_a_storage_that_is_none(tmp_path: Path, name: str, content: bytes | None) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match="storage"):
        optuna_import.read(f"sqlite:///{file}", None)
    assert file.exists() is (content is not None)


def test_a_server_is_not_asked() -> None:
    with pytest.raises(UserError, match="copy_study") as caught:
        optuna_import.read("mysql://me:secret@host/db", None)
    assert "secret" not in str(caught.value)


PARAMETERS, _ = space.parse(
    {
        "C": {"float": [0, 1], "step": 0.25},
        "depth": {"int": [2, 5], "when": {"kind": "b"}},
        "kind": ["a", "b", 1],
        "size": {"int": [1, 9]},
        "fixed": 3,
        "free": {"float": [0, 1], "when": {"fixed": 3}},
    }
)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"C": 1, "size": 3.0}, {"C": 1.0, "size": 3}),
        ({"kind": "b", "depth": 2}, {"kind": "b", "depth": 2}),
        ({"kind": "a", "fixed": 3}, {"kind": "a"}),
        ({"free": 0.5}, {"free": 0.5}),
        ({"C": 0.3}, "C is not from 0 to 1 in steps of 0.25"),
        ({"size": 2.5}, "size is not from 1 to 9"),
        ({"size": True}, "size is not from 1 to 9"),
        ({"kind": True}, "kind is not one of a, b, 1"),
        ({"kind": "a", "depth": 2}, "depth does not exist here with what kind is"),
        ({"fixed": 4}, "fixed is not one of 3"),
        ({"fixed": 3}, "nothing of it is searched here"),
        ({"other": 1, "C": 1.0}, "other is not searched here"),
    ],
)
def test_a_point_of_the_space(params: dict[str, Any], expected: dict[str, Any] | str) -> None:
    point, why = placed(PARAMETERS, params)
    assert (point if why is None else why) == expected
    if isinstance(expected, dict):
        assert {name: type(value) for name, value in point.items()} == {
            name: type(value) for name, value in expected.items()
        }
