"""What a file comes from is what was really read: by content, in any order of the records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ml_experiment import lineage
from ml_experiment.lineage import ancestry, descendants, index

Record = dict[str, Any]
Version = tuple[str, str]


def record(
    number: int,
    job: str,
    inputs: Mapping[str, object],
    outputs: Mapping[str, object],
    state: str = "finished",
) -> Record:
    """A record of the hour `number`; files as path: hash, or path: entry."""
    hour = f"2026-01-{1 + number // 24:02}T{number % 24:02}"
    return {
        "ended": f"{hour}:30:00.000Z",
        "id": f"{job}-{number}",
        "inputs": {path: _entry(value) for path, value in inputs.items()},
        "job": job,
        "outputs": {path: _entry(value) for path, value in outputs.items()},
        "rule": job,
        "started": f"{hour}:00:00.000Z",
        "state": state,
    }


def _entry(value: object) -> Any:
    return value if isinstance(value, dict) else {"hash": value}


def ids(graph: lineage.Graph) -> set[str]:
    return set(graph.jobs)


# ---- histories of any shape, against their plainest reading ------------------------------------

JOBS = 5


@st.composite
def histories(draw: st.DrawFn) -> list[Record]:
    """Jobs that ran and ran again, on files that others made or that somebody edited between."""
    files = {"raw": "0", "raw.old": "0"}
    found: list[Record] = []
    for number in range(draw(st.integers(1, 14))):
        if draw(st.booleans()):  # few contents, so that the same bytes are made again
            files[draw(st.sampled_from(sorted(files)))] = draw(st.sampled_from("012"))
        job = draw(st.integers(0, JOBS - 1))
        readable = sorted(path for path in files if path.startswith("raw") or int(path[1]) < job)
        inputs = draw(st.sets(st.sampled_from(readable), max_size=3))
        outputs = {f"o{job}.{kind}": draw(st.sampled_from("012")) for kind in "ab"}
        state = draw(st.sampled_from(["finished", "finished", "failed"]))
        read = {path: files[path] for path in sorted(inputs)}
        found.append(
            record(number, f"job{job}", read, outputs if state == "finished" else {}, state)
        )
        files.update(found[-1]["outputs"] and outputs)
    return found


def versions(history: Sequence[Record]) -> set[Version]:
    return {
        version for ran in history for kind in ("inputs", "outputs") for version in of(ran, kind)
    }


def of(ran: Record, kind: str) -> Iterator[Version]:
    return ((path, entry["hash"]) for path, entry in ran[kind].items())


def maker(history: Sequence[Record], version: Version, place: int) -> int | None:
    """The last job before a place in the history that made a version, else the last after it."""
    made = [at for at, ran in enumerate(history) if version in of(ran, "outputs") and at != place]
    return max([at for at in made if at < place] or made, default=None)


def behind(history: Sequence[Record], version: Version, place: int) -> set[int]:
    """Every job behind a version that was read at a place in the history."""
    found: set[int] = set()
    waiting = [(version, place)]
    while waiting:
        at = maker(history, *waiting.pop())
        if at is not None and at not in found:
            found.add(at)
            waiting += [(read, at) for read in of(history[at], "inputs")]
    return found


@given(histories())
def test_ancestors_are_the_jobs_whose_bytes_were_read(history: list[Record]) -> None:
    known = index(history)
    for version in versions(history):
        jobs = {history[at]["id"] for at in behind(history, version, len(history))}
        assert ids(ancestry(known, *version)) == jobs


@given(histories())
def test_downstream_is_the_inverse(history: list[Record]) -> None:
    known = index(history)
    for version in versions(history):
        users = set()
        for place, ran in enumerate(history):
            jobs = {place}.union(*(behind(history, read, place) for read in of(ran, "inputs")))
            reads = any(version in of(history[at], "inputs") for at in jobs)
            if reads and ran["state"] == "finished":
                users.add(ran["id"])
        assert ids(descendants(known, *version)) == users


@given(histories(), st.randoms(use_true_random=False))
def test_the_order_of_records_does_not_matter(history: list[Record], random: Any) -> None:
    shuffled = [*history, *history[:3]]  # some twice, as after a merge of two clones
    random.shuffle(shuffled)
    one, other = index(history), index(shuffled)
    for version in versions(history):
        for walk in (ancestry, descendants):
            assert walk(one, *version) == walk(other, *version)
            assert [*walk(one, *version).jobs] == [*walk(other, *version).jobs]


@given(histories(), st.integers(1, 4))
def test_a_depth_keeps_what_is_near(history: list[Record], depth: int) -> None:
    known = index(history)
    for version in versions(history):
        whole, cut = ancestry(known, *version), ancestry(known, *version, depth)
        near = {whole.file.made_by} & ids(whole)
        for _ in range(depth - 1):
            near |= {file.made_by for id_ in near if id_ for file in whole.jobs[id_].inputs} - {
                None
            }
        assert ids(cut) == near
        assert all(cut.jobs[id_] == whole.jobs[id_] for id_ in cut.jobs)


# ---- one case each -----------------------------------------------------------------------------


def test_an_input_is_raw_made_or_of_another_version() -> None:
    known = index(
        [
            record(1, "fit", {"raw.csv": "r"}, {"model": "m"}),
            record(2, "score", {"model": "edited", "raw.csv": "r"}, {"scores": "s"}),
            record(3, "plot", {"model": "m", "scores": "s"}, {"figure": "f"}),
        ]
    )
    found = ancestry(known, "figure", "f").jobs
    notes = {(id_, file.path): file.notes for id_ in found for file in found[id_].inputs}
    assert notes == {
        ("plot-3", "model"): (),
        ("plot-3", "scores"): (),
        ("score-2", "model"): (lineage.OTHER,),
        ("score-2", "raw.csv"): (lineage.RAW,),
        ("fit-1", "raw.csv"): (lineage.RAW,),
    }
    assert [*found] == ["plot-3", "fit-1", "score-2"]


def test_of_equal_bytes_the_last_that_was_there_in_time_is_meant() -> None:
    runs = [record(number, "fit", {}, {"model": "m"}) for number in (1, 3, 5)]
    user = record(4, "score", {"model": "m"}, {"scores": "s"})
    assert ids(ancestry(index([*runs, user]), "scores", "s")) == {"score-4", "fit-3"}
    assert ancestry(index([*runs, user]), "model", "m").file.made_by == "fit-5"
    assert ids(ancestry(index([runs[2], user]), "scores", "s")) == {"score-4", "fit-5"}


def test_a_file_in_a_recorded_folder_belongs_to_its_job() -> None:
    known = index(
        [
            record(1, "train", {"raw": "r"}, {"results/train/live": "one.dir"}),
            record(2, "plot", {"results/train/live/metrics/loss.tsv": "t"}, {"figure": "f"}),
            record(3, "train", {"raw": "r"}, {"results/train/live": "two.dir"}),
        ]
    )
    (read,) = ancestry(known, "figure", "f").jobs["plot-2"].inputs
    assert (read.made_by, read.part_of) == ("train-1", "results/train/live")
    assert ids(descendants(known, "results/train/live", "one.dir")) == {"plot-2"}
    assert ids(descendants(known, "results/train/live", "two.dir")) == set()
    assert ids(descendants(known, "raw", "r")) == {"train-1", "train-3", "plot-2"}


def test_a_folder_with_files_that_jobs_made_is_not_called_raw_data() -> None:
    known = index(
        [
            record(1, "fit", {}, {"models/a": "m"}),
            record(2, "zip", {"models": "x.dir", "model": "y.dir"}, {"archive": "z"}),
        ]
    )
    model, models = ancestry(known, "archive", "z").jobs["zip-2"].inputs
    assert (model.notes, models.notes) == ((lineage.RAW,), (lineage.HOLDS,))


def test_temporary_files_are_linked_by_time_and_said_not_to_be_hashed() -> None:
    gone = {"hash": None, "reason": "temporary"}
    known = index(
        [
            record(1, "unpack", {}, {"a": "old", "b": gone}),
            record(2, "unpack", {}, {"a": "a", "b": gone}),
            record(3, "fit", {"a": gone, "b": "b"}, {"model": "m"}),
            record(4, "unpack", {}, {"a": "new", "b": gone}),
        ]
    )
    a, b = ancestry(known, "model", "m").jobs["fit-3"].inputs
    assert (a.made_by, a.notes) == ("unpack-2", ("temporary",))
    assert (b.made_by, b.notes) == ("unpack-2", (lineage.UNPROVEN,))
    assert ids(descendants(known, "a", "a")) == {"fit-3"}
    assert ids(descendants(known, "a", "old")) == set()


def test_an_input_that_changed_while_it_was_read_says_so() -> None:
    changed = {"hash": "r", "changed": True}
    known = index([record(1, "fit", {"raw": changed}, {"model": "m"})])
    (read,) = ancestry(known, "model", "m").jobs["fit-1"].inputs
    assert read.notes == (lineage.RAW, lineage.CHANGED)


def test_a_job_that_changes_a_file_in_its_place_is_not_its_own_ancestor() -> None:
    known = index([record(1, "append", {"log": "x"}, {"log": "x"})])
    graph = ancestry(known, "log", "x")
    assert ids(graph) == {"append-1"}
    assert graph.jobs["append-1"].inputs[0].notes == (lineage.RAW,)


def test_a_cycle_ends() -> None:
    known = index([record(1, "a", {"x": "x"}, {"y": "y"}), record(2, "b", {"y": "y"}, {"x": "x"})])
    assert ids(ancestry(known, "x", "x")) == {"a-1", "b-2"}
    assert ids(descendants(known, "x", "x")) == {"a-1", "b-2"}


def test_outputs_that_were_there_without_a_record_have_a_node() -> None:
    known = index(
        [
            record(1, "fit", {}, {"model": "m"}, "found"),
            record(2, "score", {"model": "m"}, {"s": "s"}),
        ]
    )
    assert ids(ancestry(known, "s", "s")) == {"fit-1", "score-2"}


def test_what_was_made_and_is_made_no_longer_is_marked() -> None:
    known = index(
        [
            record(1, "fit", {"raw": "r"}, {"model": "one", "log": "l"}),
            record(2, "fit", {"raw": "s"}, {"model": "two", "log": "l"}),
        ]
    )
    outputs = descendants(known, "raw", "r").jobs["fit-1"].outputs
    assert {file.path: file.notes for file in outputs} == {
        "log": (),
        "model": (lineage.OVERWRITTEN,),
    }


def test_ten_thousand_jobs_in_a_row() -> None:
    count = 10_000
    chain = [record(0, f"job{n}", {f"f{n}": "x"}, {f"f{n + 1}": "x"}) for n in range(count)]
    known = index(chain)
    assert len(ancestry(known, f"f{count}", "x").jobs) == count
    assert len(descendants(known, "f0", "x").jobs) == count


def test_seeds_are_in_their_natural_order() -> None:
    paths = [f"results/seed-{seed}/m" for seed in (10, 2, 1, 0)]
    known = index(
        [
            *(record(1, path, {}, {path: "x"}) for path in paths),
            record(2, "all", dict.fromkeys(paths, "x"), {"all": "a"}),
        ]
    )
    read = [file.path for file in ancestry(known, "all", "a").jobs["all-2"].inputs]
    assert read == [f"results/seed-{seed}/m" for seed in (0, 1, 2, 10)]
    assert sorted(["a", "1", "", "a1b", "a01b", "a10"], key=lineage.natural) == [
        "", "1", "a", "a01b", "a1b", "a10",
    ]  # fmt: skip


def test_what_was_suggested_is_no_raw_data() -> None:
    from ml_experiment import lineage as graphs

    assert graphs._SUGGESTION.search("results/tune/m=a/trial-00007/suggestion.json")
    assert not graphs._SUGGESTION.search("data/suggestion.json")
