"""Records are whole lines, and a digest is believed only while its file is untouched."""

from __future__ import annotations

import os
from pathlib import Path

from ml_experiment import hashing, records
from ml_experiment.records import Digests


def test_the_last_record_of_a_job_counts(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "records.jsonl"
    assert records.read(file) == records.Records({}, {})
    for state, number in (("finished", 1), ("failed", 2), ("finished", 3), ("failed", 4)):
        records.append(file, {"job": "a", "state": state, "number": number})
    records.append(file, {"job": "b", "state": "failed", "number": 5})
    records.append(file, {"job": "b", "state": "finished", "number": 6})
    found = records.read(file)
    assert {job: record["number"] for job, record in found.finished.items()} == {"a": 3, "b": 6}
    assert {job: record["number"] for job, record in found.failed.items()} == {"a": 4}


def test_a_torn_line_costs_that_line_only(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    records.append(file, {"job": "a", "state": "finished"})
    with file.open("a") as torn:
        torn.write('{"job": "b", "sta\n[]\n')
    records.append(file, {"job": "c", "state": "finished"})
    assert [*records.read(file).finished] == ["a", "c"]


def test_a_digest_is_that_of_the_bytes_that_are_there(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("one")
    digests = Digests(tmp_path)
    assert digests.of("x") == hashing.of_file(file)
    file.write_text("two!")
    assert digests.of("x") == hashing.of_file(file)
    assert digests.of("none") is None


def test_what_was_learnt_is_believed_until_the_file_is_touched(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("one")
    entry = Digests(tmp_path).entry("x")
    digests = Digests(tmp_path)
    digests.learn({"x": {**entry, "hash": "remembered"}})
    assert digests.of("x") == "remembered"
    os.utime(tmp_path / "x", ns=(1, 1))
    assert digests.of("x") == entry["hash"]


def test_a_path_outside_of_the_workspace_has_a_digest_too(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("one")
    inside = tmp_path / "workspace"
    inside.mkdir()
    assert Digests(inside).of(str(tmp_path / "data")) == hashing.of_text("one")


def test_a_folder_is_touched_when_a_file_in_it_is(tmp_path: Path) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "e" / "x").write_text("one")
    digests = Digests(tmp_path)
    before = digests.of("d")
    assert before == hashing.of_folder(tmp_path / "d")
    (tmp_path / "d" / "e" / "x").write_text("two!")
    assert digests.of("d") not in (before, None)
