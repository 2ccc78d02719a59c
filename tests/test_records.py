"""Records are whole lines in two files, and what they say can be checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ml_experiment import hashing, records
from ml_experiment.errors import UserError


def record(job: str, state: str = "finished", **more: Any) -> dict[str, Any]:
    return {"job": job, "state": state, "outputs": {}, **more}


def test_the_last_record_of_a_job_counts(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "records.jsonl"
    assert records.read(file) == records.Records({}, {}, {})
    for state, number in (("finished", 1), ("failed", 2), ("finished", 3), ("failed", 4)):
        records.add(file, record("a", state, number=number))
    records.add(file, record("b", "failed", number=5))
    records.add(file, record("b", "finished", number=6))
    found = records.read(file)
    assert {job: record["number"] for job, record in found.finished.items()} == {"a": 3, "b": 6}
    assert {job: record["number"] for job, record in found.failed.items()} == {"a": 4}


def test_one_that_was_found_is_none_that_was_made(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    records.add(file, record("a", "found"))
    assert [*records.read(file).found] == ["a"]
    records.add(file, record("a", "finished"))
    assert records.read(file).found == {}


def test_details_are_apart_and_have_the_same_id(tmp_path: Path) -> None:
    file = tmp_path / "records-smoke.jsonl"
    ids = [records.add(file, record(job, command=f"make {job}", params={"C": 1})) for job in "ab"]
    (slim, _) = records.lines(file)
    assert "command" not in slim
    assert records.details_of(file).name == "details-smoke.jsonl"
    assert records.details(file, [ids[1]]) == {
        ids[1]: {"command": "make b", "id": ids[1], "params": {"C": 1}}
    }


def test_an_id_is_the_digest_of_all_that_a_record_says(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    whole = record("a", command="x", metrics={"loss": float("nan")})
    identity = records.add(file, whole)
    assert identity == hashing.of_text(hashing.canonical(whole))
    (slim,) = records.lines(file)
    details = records.details(file, [identity])[identity]
    again = {k: v for k, v in {**slim, **details}.items() if k != "id"}
    assert hashing.of_text(hashing.canonical(again)) == identity
    assert records.add(file, record("a", command="y")) != identity


def test_anybody_can_read_them(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    records.add(file, record("a", command="é"))
    for path in (file, records.details_of(file)):
        text = path.read_text("utf-8")
        assert hashing.canonical(json.loads(text)) + "\n" == text


def test_a_torn_line_costs_that_line_only(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    records.add(file, record("a"))
    with file.open("a") as torn:
        torn.write('[]\n{"job": "b", "sta')
    records.add(file, record("c"))
    assert [*records.read(file).finished] == ["a", "c"]


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(UserError, match=r"taken/records\.jsonl: no record can be written"):
        records.append(tmp_path / "taken" / "records.jsonl", {})


def test_the_end_of_a_run_is_laid_on_its_beginning(tmp_path: Path) -> None:
    file = records.runs_file(tmp_path)
    for line in (
        {"run": "1", "started": "a"},
        {"run": "2", "started": "b"},
        {"run": "1", "ended": "c"},
    ):
        records.append(file, line)
    assert records.runs(tmp_path) == {
        "1": {"run": "1", "started": "a", "ended": "c"},
        "2": {"run": "2", "started": "b"},
    }
