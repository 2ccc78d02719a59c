"""How a lineage is drawn: a tree in which every job is told once."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ml_experiment import hashing
from ml_experiment.cli import main as cli
from ml_experiment.cli import tree
from ml_experiment.lineage import ancestry, descendants, index
from ml_experiment.services.lineage import Answer

RAW = "data/raw.csv"


def record(
    job: str, inputs: Sequence[str], outputs: Sequence[str], **fields: Any
) -> dict[str, Any]:
    return {
        "ended": "2026-11-25T20:06:45.123Z",
        "id": job,
        "inputs": {path: {"hash": hashing.of_text(path)} for path in inputs},
        "job": job,
        "outputs": {path: {"hash": hashing.of_text(path)} for path in outputs},
        "rule": job.split("/", 1)[0],
        "seed": None,
        "started": "2026-11-25T20:06:44.123Z",
        "state": "finished",
        **fields,
    }


def drawn(
    records: Sequence[Mapping[str, Any]],
    path: str,
    details: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    depth: int | None = None,
    downstream: bool = False,
    every: bool = False,
    remark: str = "",
) -> str:
    walk = descendants if downstream else ancestry
    graph = walk(index(records), path, hashing.of_text(path), depth)
    answer = Answer("recorded", None, remark, graph, downstream, details or {})
    return tree.text(answer, every=every)


PAPER = [
    record("fit/seed-0", [RAW], ["m0"], seed=10),
    record("fit/seed-1", [RAW], ["m1"], seed=11),
    record("fit.table", ["m0", "m1"], ["table.csv"]),
    record("figure", ["m0", "table.csv"], ["figure.svg"]),
]
DETAILS: dict[str, dict[str, Any]] = {
    "figure": {
        "code": {"workflow/lib.py": "…", "workflow/scripts/figure.py": "…"},
        "command": "python workflow/scripts/figure.py table.csv",
        "environment": {"name": "sklearn", "python": "3.11.7"},
        "key": {"seed": None},
        "params": {"C": 1.0, "grid": None, "sizes": [1, 2], "title": "Two methods"},
    },
    "fit/seed-0": {
        "code": {"workflow/lib.py": "…", "workflow/scripts/fit.py": "…"},
        "command": "python call.py workflow.scripts.fit:fit",
        "environment": None,
        "params": {},
    },
}


def test_the_tree_of_a_figure() -> None:
    assert drawn(PAPER, "figure.svg", DETAILS) == (
        """\
figure.svg  36416943
└─ figure · nothing random · C=1.0, grid=null, sizes=[1,2], title=Two methods · \
workflow/scripts/figure.py and 1 more · sklearn · Python 3.11.7 · 2026-11-25 20:06
   ├─ m0  ced6bfe1
   │  └─ fit/seed-0 · seed 10 · workflow/scripts/fit.py and 1 more · 2026-11-25 20:06
   │     └─ data/raw.csv  bfe122a8 · raw data
   └─ table.csv  4b7089d1
      └─ fit.table · 2026-11-25 20:06
         ├─ m0  ced6bfe1
         │  └─ fit/seed-0 (above)
         └─ m1  ae7be26c
            └─ fit/seed-1 · seed 11 · 2026-11-25 20:06
               └─ data/raw.csv  bfe122a8 · raw data"""
    )


def test_what_was_made_from_the_data() -> None:
    assert drawn(PAPER, RAW, downstream=True) == (
        """\
data/raw.csv  bfe122a8 · raw data
├─ fit/seed-0 · seed 10 · 2026-11-25 20:06
│  └─ m0  ced6bfe1
│     ├─ figure · 2026-11-25 20:06
│     │  └─ figure.svg  36416943
│     └─ fit.table · 2026-11-25 20:06
│        └─ table.csv  4b7089d1
│           └─ figure (above)
└─ fit/seed-1 · seed 11 · 2026-11-25 20:06
   └─ m1  ae7be26c
      └─ fit.table (above)"""
    )


def test_a_depth_leaves_a_mark_where_it_cuts() -> None:
    lines = drawn(PAPER, "figure.svg", depth=1).splitlines()
    assert lines[2:] == [
        "   ├─ m0  ced6bfe1",
        "   │  └─ … (--depth)",
        "   └─ table.csv  4b7089d1",
        "      └─ … (--depth)",
    ]


def test_a_remark_stands_behind_the_file() -> None:
    assert drawn(PAPER, RAW, remark="no longer there") == (
        "data/raw.csv  bfe122a8 · raw data · no longer there"
    )


def test_a_job_without_inputs_and_one_of_which_nothing_is_known() -> None:
    records = [
        record("make", [], ["a"]),
        record("fit", [], ["b"], state="found"),
        record("join", ["a", "b"], ["c"]),
    ]
    lines = drawn(records, "c").splitlines()
    assert lines[3:5] == ["   │  └─ make · 2026-11-25 20:06", "   │     └─ no input files"]
    found = "      └─ fit · found without a record: what made it is not known · 2026-11-25 20:06"
    assert lines[6:] == [found]


@pytest.mark.parametrize(("count", "shown"), [(12, 12), (13, 3)])
def test_many_of_a_rule_are_counted(count: int, shown: int) -> None:
    fits = [record(f"fit/seed-{seed}", [], [f"m{seed}"]) for seed in range(count)]
    others = [record("other", [], ["z"])]
    models = [f"m{seed}" for seed in range(count)]
    both = [*fits, *others, record("all", [*models, "z"], ["all"])]
    text = drawn(both, "all")
    assert text.count("fit/seed-") == shown
    assert text.count("other") == 1
    assert ("   ├─ … and 10 more of fit\n" in text) == (shown < count)
    assert drawn(both, "all", every=True).count("fit/seed-") == count


def test_many_files_of_data_and_many_users_are_counted_too() -> None:
    images = [f"images/{number}.png" for number in range(20)]
    records = [record(f"fit/seed-{seed}", images, [f"m{seed}"]) for seed in range(20)]
    up = drawn(records, "m0").splitlines()
    assert up[-2:] == ["   ├─ images/2.png  " + hashing.of_text("images/2.png")[:8] + " · raw data",
                       "   └─ … and 17 more · raw data"]  # fmt: skip
    down = drawn(records, "images/0.png", downstream=True).splitlines()
    assert down[-1] == "└─ … and 17 more of fit"
    assert len(down) == 1 + 3 * 2 + 1


def test_a_long_chain_and_a_long_line_are_whole() -> None:
    count = 2000  # deeper than Python lets functions call one another
    chain = [record(f"job/{n}", [f"f{n}"], [f"f{n + 1}"]) for n in range(count)]
    name = "results/" + "long" * 100
    text = drawn([*chain, record("last", [f"f{count}"], [name])], name)
    assert text.startswith(name)
    assert f"{'   ' * 2 * count}   └─ f0  " in text


def test_a_name_with_a_line_break_stays_on_its_line() -> None:
    text = drawn([record("a", ["x\ny"], ["z"])], "z")
    assert len(text.splitlines()) == 3
    assert r"x\ny  " in text


# ---- the command -------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / ".ml_experiment").mkdir()
    for name, lines in (("records", PAPER), ("details", [{"id": "figure", **DETAILS["figure"]}])):
        text = "".join(hashing.canonical(line) + "\n" for line in lines)
        (tmp_path / f".ml_experiment/{name}.jsonl").write_text(text)
    (tmp_path / "figure.svg").write_text("figure.svg")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    gc.enable()  # a command turns it off, for a process of its own


def test_the_command_draws(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lineage", "figure.svg"]) == 0
    only = {"figure": DETAILS["figure"]}
    assert capsys.readouterr().out == drawn(PAPER, "figure.svg", only) + "\n"


def test_the_command_as_json(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lineage", "figure.svg", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["job"]["params"]["C"] == 1.0
    assert sorted(data["jobs"]) == ["figure", "fit.table", "fit/seed-0", "fit/seed-1"]
    assert cli.main(["lineage", "figure.svg", "--json", "--depth", "1"]) == 0
    assert list(json.loads(capsys.readouterr().out)["jobs"]) == ["figure"]


def test_the_command_says_what_it_does_not_know(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["lineage", "figure.svgz"]) == 2
    assert "did you mean figure.svg?" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        cli.main(["lineage", "figure.svg", "--depth", "0"])
    assert "0 is no whole number from 1" in capsys.readouterr().err
