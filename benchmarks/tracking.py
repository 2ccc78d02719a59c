"""What it costs until everything is in MLflow: against a bare Snakefile, and one that logs itself.

The second peer is what a user would write today: each job ends with a Python that logs parameters,
metrics and outputs with MLflow's client, into the same kind of database.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from bench import (
    BARE_SNAKEMAKE,
    SNAKEMAKE,
    Row,
    Target,
    Timing,
    bare,
    fresh,
    in_turn,
    main,
    project,
    row,
    scratch,
    timed,
    walls,
)

RECORDS = 1_000
RUN = [*SNAKEMAKE, "--cores", "2"]
BARE_RUN = [*BARE_SNAKEMAKE, "--cores", "2"]
MADE = ("mlflow.db", "mlflow.db-wal", "mlflow.db-shm", "mlartifacts")

BUSY = """\
import json, sys, time
end = time.process_time() + 0.2
x = 0
while time.process_time() < end:
    x += 1
open(sys.argv[1], "w").write("x")
"""
LOG = """\
import os, sys
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
client = MlflowClient("sqlite:///mlflow.db")
run = client.create_run("0", run_name=sys.argv[1]).info.run_id
client.log_batch(run, [Metric("value", 1.0, 0, 0)], [Param("job", sys.argv[1])], [])
client.log_artifact(run, sys.argv[2])
client.set_terminated(run)
"""
CREATE = """\
import os, sqlite3
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
from mlflow import MlflowClient
MlflowClient("sqlite:///mlflow.db").search_experiments()
sqlite3.connect("mlflow.db").execute("PRAGMA journal_mode=WAL")
"""


def experiment(jobs: int, command: str) -> str:
    """One step of so many jobs that do not depend on one another."""
    return f"""\
name: bench
seed: 1
axes: {{job: {list(range(jobs))}}}
steps:
  one:
    matrix: [job]
    run: {command.replace("{out}", "{outputs.out}").replace("{job}", "{matrix.job}")}
    outputs: {{out: out.txt}}
"""


def snakefile(jobs: int, command: str, *, logging: bool) -> str:
    """The same in plain rules, which log themselves or do not."""
    shell = command.replace("{out}", "{output}").replace("{job}", "{wildcards.job}")
    more = f" && {sys.executable} log.py {{wildcards.job}} {{output}}" if logging else ""
    return f"""\
rule all:
    input: expand("results/one/job={{job}}/out.txt", job=range({jobs}))


rule one:
    output: "results/one/job={{job}}/out.txt"
    shell: {json.dumps(shell + more)}
"""


def run(words: Sequence[str], folder: Path, jobs: int, *, runs: int) -> Timing:
    """A run from nothing; so many runs must be in MLflow afterwards."""
    for name in MADE:
        file = folder / name
        if file.is_file():
            file.unlink()
    if runs and not (folder / "profiles/untracked").exists():  # the peer's database is made before
        timed([sys.executable, "-c", CREATE], folder)
    timing = timed(words, fresh(folder))
    if f"{jobs + 1} of {jobs + 1} steps" not in timing.printed:
        raise RuntimeError(timing.printed[-2000:])
    if runs:
        with closing(sqlite3.connect(folder / "mlflow.db")) as database:
            tag = "SELECT count(*) FROM tags WHERE key = 'ml_experiment.record'"
            ours = (folder / "profiles/untracked").exists()
            query = tag if ours else "SELECT count(*) FROM runs"
            (found,) = database.execute(query).fetchone()
        if found != runs:
            raise RuntimeError(f"{found} runs in MLflow, not {runs}\n{timing.printed[-2000:]}")
    return timing


def until_sent(form: str, jobs: int, command: str, most: float, rounds: int) -> list[Row]:
    """A run until everything is in MLflow."""
    with scratch() as folder:
        files = {"busy.py": BUSY, "log.py": LOG}
        ours = project(folder / "ours", experiment(jobs, command))
        (ours / "busy.py").write_text(BUSY)
        peers = {
            name: bare(
                folder / name,
                {"Snakefile": snakefile(jobs, command, logging=name == "logging"), **files},
            )
            for name in ("bare", "logging")
        }
        taken = in_turn(
            rounds,
            ours=lambda: run(RUN, ours, jobs, runs=jobs),
            bare=lambda: run(BARE_RUN, peers["bare"], jobs, runs=0),
        )
        # Once: minutes, and nowhere near the target.
        log = run(BARE_RUN, peers["logging"], jobs, runs=jobs)
    return [
        row(
            f"{form}, until in MLflow, wall",
            walls(taken["ours"]),
            walls(taken["bare"]),
            Target("ratio", most),
        ),
        row(
            f"{form}, peer logs itself, wall",
            walls(taken["ours"]),
            [log.wall] * rounds,
            Target("ratio", 0.5),
        ),
    ]


# What a record costs beside the bare calls of the client, in one process each, imports aside.
SENT = """\
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tracking import recorded
from ml_experiment.services.track import Sender
folder = Path(sys.argv[2])
sender = Sender(folder, f"sqlite:///{folder / 'ours.db'}")
sender.send()  # makes the database
recorded(folder, int(sys.argv[3]))
begun = time.perf_counter()
sender.send()
taken = time.perf_counter() - begun
assert len(sender.sent) == int(sys.argv[3]), sender.refused
print(taken)
"""
CALLS = """\
import os, sqlite3, sys, time
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param
client = MlflowClient("sqlite:///peer.db")
place = client.create_experiment("bench")
sqlite3.connect("peer.db").execute("PRAGMA journal_mode=WAL")
tags = {f"tag{i}": "v" * 60 for i in range(20)}
tags["mlflow.parentRunId"] = client.create_run(place).info.run_id
begun = time.perf_counter()
for i in range(int(sys.argv[1])):
    run = client.create_run(place, start_time=i, tags=tags, run_name=f"one/job={i}").info.run_id
    client.log_batch(run, [Metric("value", 1.0, 0, 0)], [Param("job", str(i)), Param("seed", "1")], ())
    data = Dataset(f"data/{i}.csv", "0" * 32, "local", '{"hash":"' + "0" * 32 + '"}', profile="{}")
    client.log_inputs(run, [DatasetInput(data, [InputTag("mlflow.data.context", "input")])])
    client.set_terminated(run, "FINISHED", i)
print(time.perf_counter() - begun)
"""


def recorded(folder: Path, count: int) -> None:
    """Records of so many jobs, with an input, a parameter and a metric each."""
    from ml_experiment import records  # noqa: PLC0415  # only where it is measured

    moment = "2026-11-25T20:00:00.000Z"
    line = {"command": "snakemake", "experiment": "bench", "run": "R", "started": moment}
    records.append(records.runs_file(folder), line)
    for job in range(count):
        record = {
            "attempt": 1,
            "boot": [],
            "code": {"one.py": f"{job:032x}"},
            "command": f"python one.py --job {job}",
            "ended": moment,
            "environment": {"digest": "0" * 32, "name": "base", "python": "3.11.7"},
            "exit_code": 0,
            "inputs": {f"data/{job}.csv": {"hash": f"{job:032x}", "size": 1, "mtime": 1, "inode": 1}},
            "job": f"one/job={job}",
            "key_digest": None,
            "log": f"logs/one/job={job}.log",
            "metrics": {"value": 1.0},
            "outputs": {f"results/one/job={job}/out.txt": {"hash": f"{job:032x}"}},
            "params": {"job": job},
            "rule": "one",
            "run": "R",
            "seed": 1,
            "started": moment,
            "state": "finished",
            "wildcards": {"job": str(job)},
        }  # fmt: skip
        records.add(folder / ".ml_experiment/records.jsonl", record)


def in_the_client(rounds: int) -> Row:
    """1,000 records against as many bare calls: a run, a batch, a dataset, an end."""
    here = str(Path(__file__).parent)
    ours, peer = [], []
    for _ in range(rounds):
        with scratch() as folder:
            sent = timed([sys.executable, "-c", SENT, here, str(folder), str(RECORDS)], folder)
            called = timed([sys.executable, "-c", CALLS, str(RECORDS)], folder)
        ours.append(float(sent.printed.splitlines()[-1]))
        peer.append(float(called.printed.splitlines()[-1]))
    what = f"{RECORDS:,} records into sqlite (peer: bare client calls)"
    return row(what, ours, peer, Target("ratio", 1.1))


def measure(rounds: int) -> list[Row]:
    """200 trivial jobs, 100 jobs of 0.2 s, 1,000 records."""
    python = sys.executable
    return [
        *until_sent("200 trivial jobs", 200, "echo {job} > {out}", 2.0, rounds),
        *until_sent("100 jobs of 0.2 s", 100, f"{python} busy.py {{out}}", 1.25, rounds),
        in_the_client(rounds),
    ]


if __name__ == "__main__":
    sys.exit(main(("tracking", measure), rounds=3))
