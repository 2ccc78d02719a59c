"""What is told of a file: by its bytes now, and by the records of all variants."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ml_experiment import hashing
from ml_experiment.errors import UserError
from ml_experiment.services.lineage import lineage, plain


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Data, a model made from them, scores made from it, each with its record."""
    write(tmp_path, "data/raw.csv", "raw")
    write(tmp_path, "results/fit/model.bin", "model")
    write(tmp_path, "results/fit/live/loss.tsv", "loss")
    write(tmp_path, "results/score/scores.json", "scores")
    add(tmp_path, 1, "fit", ["data/raw.csv"], ["results/fit/model.bin", "results/fit/live"])
    add(tmp_path, 2, "score", ["results/fit/model.bin"], ["results/score/scores.json"])
    return tmp_path


def write(folder: Path, path: str, text: str) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text)


def add(
    folder: Path, hour: int, job: str, inputs: list[str], outputs: list[str], suffix: str = ""
) -> str:
    """The record of a job, with its files as they are."""
    record = {
        "ended": f"2026-01-01T{hour:02}:30:00.000Z",
        "id": hashing.of_text(f"{job} {hour}"),
        "inputs": {path: entry(folder, path) for path in inputs},
        "job": job,
        "outputs": {path: entry(folder, path) for path in outputs},
        "rule": job,
        "seed": 1,
        "started": f"2026-01-01T{hour:02}:00:00.000Z",
        "state": "finished",
    }
    details = {"command": f"run {job}", "id": record["id"], "params": {"C": float("nan")}}
    append(folder, f"records{suffix}", record)
    append(folder, f"details{suffix}", details)
    return str(record["id"])


def entry(folder: Path, path: str) -> dict[str, Any]:
    digest = hashing.of_path(folder / path)
    return {"hash": digest} if digest else {"hash": None, "reason": "temporary"}


def append(folder: Path, name: str, line: Mapping[str, Any]) -> None:
    (folder / ".ml_experiment").mkdir(exist_ok=True)
    with (folder / f".ml_experiment/{name}.jsonl").open("a") as file:
        file.write(hashing.canonical(line) + "\n")


def jobs(folder: Path, path: str, **options: Any) -> list[str]:
    graph = lineage(folder, path, **options).graph
    return [str(node.record["job"]) for node in graph.jobs.values()]


def test_up_and_down(project: Path) -> None:
    assert jobs(project, "results/score/scores.json") == ["score", "fit"]
    assert jobs(project, "results/score/scores.json", depth=1) == ["score"]
    assert jobs(project, "data/raw.csv", downstream=True) == ["fit", "score"]
    assert jobs(project, "results/score/scores.json", downstream=True) == []
    assert jobs(project, "data/raw.csv") == []
    assert lineage(project, "results/score/scores.json").state == "recorded"
    assert lineage(project, "data/raw.csv").state == "raw"


def test_details_are_those_of_the_jobs_of_the_answer(project: Path) -> None:
    answer = lineage(project, "results/fit/model.bin")
    (details,) = answer.details.values()
    assert details["command"] == "run fit"


@pytest.mark.parametrize(
    "path",
    [
        "results/fit/model.bin",
        "./results/../results/fit//model.bin",
        "{project}/results/fit/model.bin",
        "{project}/link/model.bin",
    ],
)
def test_ways_to_name_a_file(project: Path, path: str) -> None:
    (project / "link").symlink_to(project / "results/fit")
    answer = lineage(project, path.format(project=project))
    assert (answer.state, answer.graph.file.path) == ("recorded", "results/fit/model.bin")


def test_from_a_folder_of_the_project(project: Path) -> None:
    assert jobs(project / "results/fit", "model.bin") == ["fit"]
    assert jobs(project / "results/fit", "../../data/raw.csv", downstream=True) == ["fit", "score"]


def test_records_of_all_variants_count(project: Path) -> None:
    write(project, "results-smoke/x", "x")
    add(project, 3, "try", ["data/raw.csv"], ["results-smoke/x"], suffix="-smoke")
    assert jobs(project, "results-smoke/x") == ["try"]
    assert jobs(project, "data/raw.csv", downstream=True) == ["fit", "try", "score"]


def test_a_file_that_was_edited_is_not_what_its_record_says(project: Path) -> None:
    write(project, "results/fit/model.bin", "by hand")
    answer = lineage(project, "results/fit/model.bin")
    assert (answer.state, answer.graph.file.hash) == ("changed", hashing.of_text("model"))
    assert answer.now == hashing.of_text("by hand")
    now = hashing.of_text("by hand")[:8]
    assert (
        answer.remark == f"changed since it was last made: what is there now, {now}, has no record"
    )
    assert [node.record["job"] for node in answer.graph.jobs.values()] == ["fit"]


def test_of_an_edited_file_what_read_it_as_it_is_comes_downstream(project: Path) -> None:
    write(project, "results/fit/model.bin", "by hand")
    assert jobs(project, "results/fit/model.bin", downstream=True) == ["score"]
    add(project, 3, "again", ["results/fit/model.bin"], ["results/score/scores.json"])
    assert jobs(project, "results/fit/model.bin", downstream=True) == ["again"]


def test_an_earlier_version_has_its_own_lineage(project: Path) -> None:
    write(project, "results/fit/model.bin", "second")
    later = add(project, 5, "fit", ["data/raw.csv"], ["results/fit/model.bin"])
    assert lineage(project, "results/fit/model.bin").graph.file.made_by == later
    write(project, "results/fit/model.bin", "model")
    answer = lineage(project, "results/fit/model.bin")
    assert answer.state == "recorded"
    assert answer.graph.file.made_by not in (later, None)


@pytest.mark.parametrize("path", ["results/fit/model.bin", "data/raw.csv"])
def test_a_file_that_is_gone(project: Path, path: str) -> None:
    (project / path).unlink()
    answer = lineage(project, path)
    assert (answer.state, answer.now, answer.remark) == ("deleted", None, "no longer there")


def test_data_that_changed_since_they_were_used(project: Path) -> None:
    write(project, "data/raw.csv", "other")
    answer = lineage(project, "data/raw.csv", downstream=True)
    assert answer.state == "changed"
    assert "since it was last used" in answer.remark
    assert len(answer.graph.jobs) == 2


def test_a_file_that_was_not_hashed(project: Path) -> None:
    add(project, 3, "unpack", ["data/raw.csv"], ["results/unpack/x"])
    assert lineage(project, "results/unpack/x").state == "deleted"
    write(project, "results/unpack/x", "x")
    answer = lineage(project, "results/unpack/x")
    assert answer.state == "unhashed"
    assert "not hashed when it was made" in answer.remark
    assert len(answer.graph.jobs) == 1


def test_a_file_in_a_recorded_folder(project: Path) -> None:
    answer = lineage(project, "results/fit/live/loss.tsv")
    assert (answer.state, answer.graph.file.path) == ("recorded", "results/fit/live")
    assert answer.remark == "results/fit/live/loss.tsv is in it"
    assert jobs(project, "results/fit/live/") == ["fit"]
    write(project, "results/fit/live/loss.tsv", "by hand")
    assert lineage(project, "results/fit/live/loss.tsv").state == "changed"


def test_what_is_unknown_names_what_is_near(project: Path) -> None:
    with pytest.raises(UserError, match=r"did you mean results/fit/model\.bin\?"):
        lineage(project, "results/fit/modle.bin")
    far = "results/predict/data=digits,method=forest/seed-0/p.csv"
    write(project, far, "p")
    add(project, 3, "predict", [], [far])
    with pytest.raises(UserError, match=f"there is: {far}$"):
        lineage(project, "p.csv")


def test_without_records(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no records here"):
        lineage(tmp_path, "x")
    (tmp_path / ".ml_experiment").mkdir()
    with pytest.raises(UserError, match="nothing has run yet"):
        lineage(tmp_path, "x")


def test_a_file_that_cannot_be_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(hashing, "of_path", refuse)  # root may read everything
    with pytest.raises(UserError, match=r"raw\.csv: cannot be read: Permission denied"):
        lineage(project, "data/raw.csv")


def test_torn_lines_cost_themselves_only(project: Path) -> None:
    for name in ("records", "details"):
        with (project / f".ml_experiment/{name}.jsonl").open("a") as file:
            file.write('{"id":"torn", "state"\n[]\n{"id":"x","state":"failed"}\n')
    add(project, 3, "plot", ["results/score/scores.json"], ["results/fit/live"])
    assert jobs(project, "results/fit/live") == ["plot", "score", "fit"]


def test_as_data_it_is_flat_and_whole(project: Path) -> None:
    data = json.loads(json.dumps(plain(lineage(project, "results/score/scores.json"))))
    score, fit = data["jobs"]
    assert data["job"] == data["jobs"][score]
    assert data["job"]["command"] == "run score"
    assert data["job"]["inputs"] == [
        {
            "path": "results/fit/model.bin",
            "hash": hashing.of_text("model"),
            "made_by": fit,
            "note": None,
        }
    ]
    assert data["jobs"][fit]["inputs"][0]["note"] == "raw data"
    head = [data[name] for name in ("path", "hash", "state", "now", "remark")]
    digest = hashing.of_text("scores")
    assert head == ["results/score/scores.json", digest, "recorded", digest, None]


def test_as_data_downstream_says_who_used_what(project: Path) -> None:
    data = plain(lineage(project, "data/raw.csv", downstream=True))
    fit, score = data["jobs"]
    assert data["used_by"] == [fit]
    used = {made["path"]: made["used_by"] for made in data["jobs"][fit]["outputs"]}
    assert used == {"results/fit/model.bin": [score], "results/fit/live": []}
    assert "job" not in data
