"""Every job has a record, and every record is in MLflow once, whatever happens on the way."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest

from ml_experiment import hashing, records
from tests.e2e.project import Make, Project

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Dataset, Run

TWO = (
    "name: two\nsteps:\n  a: {run: 'python a.py {outputs.o}', outputs: {o: o.txt}}\n"
    "  b: {run: 'cp {inputs.o} {outputs.p}', inputs: {o: a.o}, outputs: {p: p.txt}, seeding: none}\n"
)
A = "import sys\nopen(sys.argv[1], 'w').write('x')\n"


def client(project: Project, uri: str | None = None) -> MlflowClient:
    """Of a server, or of the project's own database."""
    from mlflow import MlflowClient

    uri = uri or f"sqlite:///{project.folder / 'mlflow.db'}"
    return MlflowClient(uri, uri)


def job_runs(project: Project, uri: str | None = None, experiment: str | None = None) -> list[Run]:
    """The runs of jobs that a server has."""
    server = client(project, uri)
    if experiment:
        known = server.get_experiment_by_name(experiment)
        places = [known] if known else []
    else:
        places = list(server.search_experiments())
    found = server.search_runs([place.experiment_id for place in places], max_results=5000)
    return [run for run in found if run.data.tags.get("ml_experiment.kind") == "job"]


def datasets(run: Run) -> list[Dataset]:
    assert run.inputs is not None
    return [given.dataset for given in run.inputs.dataset_inputs]


def recorded(project: Project) -> list[dict[str, Any]]:
    return [line for file in records.files(project.folder) for line in records.lines(file)]


def assert_all_there(project: Project, uri: str | None = None) -> None:
    """As many runs of jobs as records, and the same ones."""
    ids = sorted(run.data.tags["ml_experiment.record"] for run in job_runs(project, uri))
    assert ids == sorted(record["id"] for record in recorded(project))


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory, finished: Project) -> Project:
    """The small project, finished and sent. To be copied, not changed."""
    project = finished.copy(tmp_path_factory.mktemp("tracked") / "small")
    project.tracked = True
    done = project.ours("track")
    assert done.returncode == 0, done.stderr
    assert "9 jobs sent to sqlite:///mlflow.db" in done.stdout
    return project


# ---- what is in a record, and in MLflow ----------------------------------------------------------


def test_every_output_is_in_mlflow_under_its_hash(tracked: Project) -> None:
    assert_all_there(tracked)
    known: dict[str, str] = {}
    for run in job_runs(tracked):
        known.update(json.loads(run.data.tags["ml_experiment.outputs"]))
    assert known == tracked.files()


def test_a_run_has_parameters_metrics_datasets_and_seed(tracked: Project) -> None:
    runs = {run.info.run_name: run for run in job_runs(tracked)}
    fit = runs["fit/method=mean/seed-1"]
    assert fit.data.params == {"method": "mean", "low": "1", "high": "5", "seed": "724125127"}
    assert fit.data.metrics == tracked.json("results/fit/method=mean/seed-1/metrics.json")
    assert fit.info.status == "FINISHED"
    (dataset,) = datasets(fit)
    table = "results/prepare/table.csv"
    assert (dataset.name, dataset.digest) == (table, tracked.files()[table])
    assert json.loads(dataset.source)["run"] == runs["prepare"].info.run_id
    assert runs["prepare"].data.tags["ml_experiment.seed"] == "null"
    assert fit.outputs is not None
    assert fit.outputs.model_outputs, "model.json is declared as `model`"


def test_jobs_are_nested_in_their_step_and_in_their_run(tracked: Project) -> None:
    server = client(tracked)
    by_name = {run.info.run_name: run for run in job_runs(tracked)}

    def parent(run: Run) -> Run:
        return server.get_run(run.data.tags["mlflow.parentRunId"])

    step = parent(by_name["fit/method=mean/seed-0"])
    assert step.info.run_name == "fit"
    top = parent(step)
    assert top.data.tags["ml_experiment.kind"] == "run"
    assert parent(by_name["prepare"]).info.run_id == top.info.run_id
    assert top.info.status == step.info.status == "FINISHED"
    assert "snakemake" in top.data.tags["ml_experiment.command"]


def test_a_record_says_how_an_output_was_made(finished: Project) -> None:
    (record,) = (r for r in recorded(finished) if r["job"] == "fit/method=mean/seed-0")
    file = records.files(finished.folder)[0]
    details = records.details(file, [record["id"]])[record["id"]]
    assert details["params"] == {"method": "mean", "low": 1, "high": 5}
    assert set(details["code"]) == {"scripts/fit.py", "scripts/helper.py"}
    assert details["exit_code"] == 0
    assert details["metrics_file"] == "results/fit/method=mean/seed-0/metrics.json"
    assert details["environment"]["name"] == "base"
    (boot,) = details["boot"]
    assert {g["name"]: g["used"] for g in boot["generators"]}["random"]
    run = records.runs(finished.folder)[record["run"]]
    assert run["state"] == "finished"
    assert (run["cores"], run["seed"]) == (2, 7)
    assert run["host"]["cpus"] >= 1


def test_a_hand_written_rule_has_its_boot_report_and_seed(finished: Project) -> None:
    (record,) = (r for r in recorded(finished) if r["job"] == "byhand")
    (boot,) = records.details(records.files(finished.folder)[0], [record["id"]])[record["id"]][
        "boot"
    ]
    assert record["seed"] == boot["seed"]


def test_everything_can_be_sent_to_another_server(tracked: Project, tmp_path: Path) -> None:
    other = f"sqlite:///{tmp_path / 'other.db'}"
    assert "9 jobs sent" in tracked.ours("track", "--to", other).stdout
    assert "has everything" in tracked.ours("track", "--to", other).stdout
    assert_all_there(tracked, other)


def test_runs_lists_what_was_run(tracked: Project) -> None:
    (run,) = json.loads(tracked.ours("runs", "--json").stdout)
    assert (run["finished"], run["failed"], run["state"]) == (9, 0, "finished")
    jobs = json.loads(tracked.ours("runs", "last", "--json").stdout)
    assert {job["job"] for job in jobs} == {record["job"] for record in recorded(tracked)}
    assert "9 done" in tracked.ours("runs").stdout
    assert "did you mean" in tracked.ours("runs", run["run"][:-2] + "zz").stderr


# ---- a run ---------------------------------------------------------------------------------------


def test_a_run_is_sent_while_it_runs_and_says_so(make: Make) -> None:
    project = make(TWO, a_py=A)
    project.tracked = True
    done = project.snakemake()
    assert done.returncode == 0, done.stderr
    assert "MLflow: 2 jobs logged · sqlite:///mlflow.db" in done.stderr
    assert_all_there(project)
    with closing(sqlite3.connect(project.folder / "mlflow.db")) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    again = project.snakemake()
    assert "MLflow" not in again.stderr


def test_what_was_kept_offline_is_sent_by_the_next_run(make: Make) -> None:
    project = make(TWO, a_py=A)
    assert project.snakemake().returncode == 0
    assert not (project.folder / "mlflow.db").exists()
    project.tracked = True
    done = project.snakemake()
    assert "MLflow: 0 jobs logged, and 2 of earlier runs" in done.stderr
    assert_all_there(project)


def test_failed_attempts_have_records_too(make: Make) -> None:
    project = make(
        "name: x\nsteps:\n  a: {run: 'python a.py {outputs.o}', outputs: {o: o}, retries: 1}\n",
        a_py="import os, sys\nif not os.path.exists('tried'):\n    open('tried', 'w')\n"
        "    sys.exit('no ' + 'luck') if len(sys.argv) > 5 else sys.exit(7)\n"
        "open(sys.argv[1], 'w')\n",
    )
    project.tracked = True
    assert project.snakemake().returncode == 0
    first, second = recorded(project)
    assert (first["state"], first["attempt"], first["outputs"]) == ("failed", 1, {})
    assert (second["state"], second["attempt"]) == ("finished", 2)
    details = records.details(records.files(project.folder)[0], [first["id"]])
    assert details[first["id"]]["exit_code"] == 7
    runs = {run.data.tags["ml_experiment.attempt"]: run for run in job_runs(project)}
    assert runs["1"].info.status == "FAILED"
    assert runs["1"].data.tags["ml_experiment.exit_code"] == "7"


def test_an_output_made_without_a_record_is_found_not_made(small: Project) -> None:
    for file in (small.folder / ".ml_experiment").glob("*.jsonl"):
        file.unlink()
    done = small.snakemake()
    assert done.returncode == 0
    assert {r["state"] for r in recorded(small)} == {"found"}
    assert len(recorded(small)) == 8  # what the plan knows of; the rule written by hand is not
    assert "unrecorded" in small.ours("status").stdout
    assert small.snakemake().returncode == 0
    assert len(recorded(small)) == 8


def test_a_job_that_comes_out_otherwise_is_told(make: Make) -> None:
    project = make(
        "name: x\nsteps:\n  a: {run: 'python a.py {metrics}', metrics: m.json}\n",
        a_py="import json, os, sys\n"
        "json.dump({'accuracy': int.from_bytes(os.urandom(6), 'big')}, open(sys.argv[1], 'w'))\n",
    )
    assert project.snakemake().returncode == 0
    before = project.json("results/a/m.json")["accuracy"]
    done = project.snakemake("--forcerun", "a")
    now = project.json("results/a/m.json")["accuracy"]
    assert f"a: accuracy {before} → {now}, although nothing declared changed" in done.stderr
    project.edit("a.py", "urandom(6)", "urandom(5)")
    assert "although nothing declared" not in project.snakemake().stderr


def test_an_input_that_changes_while_the_job_runs_is_named(make: Make) -> None:
    project = make(
        "name: x\nsteps:\n  a: {run: 'python a.py {inputs.i} {outputs.o}', inputs: {i: data.txt}, outputs: {o: o}}\n",
        a_py="import sys, time\ntime.sleep(0.5)\nopen(sys.argv[1], 'a').write('more')\n"
        "time.sleep(0.1)\nopen(sys.argv[2], 'w').write('x')\n",
    )
    project.write("data.txt", "one")
    done = project.snakemake()
    assert "a: data.txt changed while the job ran" in done.stderr
    assert recorded(project)[0]["inputs"]["data.txt"]["changed"]
    assert "data data.txt (it changed while the job ran)" in project.ours("status").stdout


@pytest.mark.parametrize("executor", ["local", "forkserver"])
def test_a_temporary_output_is_said_to_be_one(make: Make, executor: str) -> None:
    project = make("name: x\nsteps: {}\n")
    project.write(
        "Snakefile",
        "rule all:\n    input: 'b'\n\nrule a:\n    output: temp('a')\n    shell: 'echo a > {output}'\n\n"
        "rule b:\n    input: 'a'\n    output: 'b'\n    shell: 'cp {input} {output}'\n",
    )
    done = project.snakemake("-e", executor)
    assert done.returncode == 0, done.stderr
    (first, second) = recorded(project)
    entry = first["outputs"]["a"]
    assert entry["hash"] == hashing.of_text("a\n") or (
        executor == "local" and entry == {"hash": None, "reason": "temporary"}
    )
    if executor == "forkserver":  # it has hashed the file before anybody could remove it
        assert second["inputs"]["a"] == entry


def test_the_digest_of_a_file_that_nobody_ever_sees_is_recorded(make: Make) -> None:
    """An output that is temporary and no job's input goes at once."""
    project = make("name: x\nsteps: {}\n")
    project.write(
        "Snakefile",
        "rule a:\n    output: temp('a'), temp(directory('d')), 'b'\n"
        "    shell: 'echo a > {output[0]}; mkdir {output[1]}; echo d > {output[1]}/x; touch {output[2]}'\n",
    )
    done = project.snakemake("-e", "forkserver", "b")
    assert done.returncode == 0, done.stderr
    (record,) = recorded(project)
    assert not (project.folder / "a").exists()
    outputs = {path: entry["hash"] for path, entry in record["outputs"].items()}
    listing = json.dumps([{"md5": hashing.of_text("d\n"), "relpath": "x"}])
    assert outputs == {
        "a": hashing.of_text("a\n"),
        "b": hashing.of_text(""),
        "d": hashing.of_text(listing) + ".dir",
    }
    entry = record["outputs"]["b"]
    status = (project.folder / "b").stat()  # as it is in the end, touched by Snakemake
    assert (entry["inode"], entry["mtime"]) == (status.st_ino, status.st_mtime_ns)


def test_odd_outputs_are_recorded(make: Make, tmp_path: Path) -> None:
    """10,000 files in a folder, a pipe, a link out of the workspace, an empty file."""
    project = make(
        "name: x\nsteps:\n  a:\n    run: python a.py {outputs.many} {outputs.pipe} {outputs.link} {outputs.empty}\n"
        "    outputs: {many: many/, pipe: pipe, link: link, empty: empty}\n",
        a_py="import os, sys\nmany, pipe, link, empty = sys.argv[1:]\nos.makedirs(many, exist_ok=True)\n"
        "for i in range(10000):\n    open(os.path.join(many, str(i)), 'w').write(str(i))\n"
        "os.mkfifo(pipe)\nos.symlink(os.path.abspath('../outside'), link)\nopen(empty, 'w')\n",
    )
    (tmp_path / "outside").write_text("far")
    project.tracked = True
    done = project.snakemake()
    assert done.returncode == 0, done.stderr
    outputs = {Path(path).name: entry for path, entry in recorded(project)[0]["outputs"].items()}
    assert outputs["many"]["files"] == 10_000
    assert outputs["pipe"] == {"hash": None, "reason": "not a file or folder"}
    assert outputs["link"]["hash"] == hashing.of_text("far")
    assert outputs["empty"]["hash"] == hashing.of_text("")
    assert_all_there(project)


def test_no_secret_is_in_a_record(make: Make) -> None:
    secret = "q7Xk9mV2pL4w"
    project = make(
        "name: x\nsteps:\n"
        "  a: {run: 'python a.py {outputs.o} --url {params.url}', outputs: {o: o}, env: [HUB_KEY],\n"
        f"      params: {{url: 'https://me:{secret}@host/data'}}, retries: 1}}\n",
        a_py="import os, sys\nprint(os.environ['HUB_KEY'], os.environ['MY_TOKEN'])\n"
        "if not os.path.exists('t'):\n    open('t', 'w')\n    sys.exit(1)\nopen(sys.argv[1], 'w')\n",
    )
    project.tracked = True
    done = project.snakemake(
        "--config", f"password={secret}", HUB_KEY=secret + "1", MY_TOKEN=secret + "2"
    )
    assert done.returncode == 0, done.stderr
    state = project.folder / ".ml_experiment"
    kept = [*state.glob("*.jsonl"), *state.glob("diffs/*"), *state.glob("tracking/*")]
    for file in [*kept, project.folder / "mlflow.db"]:
        assert secret.encode() not in file.read_bytes(), file
    (failed, _) = recorded(project)
    tail = records.details(records.files(project.folder)[0], [failed["id"]])[failed["id"]]["tail"]
    assert tail == "*** ***"


# ---- any Snakefile -------------------------------------------------------------------------------


TUTORIAL = """\
SAMPLES = ["A", "B"]


rule all:
    input: "plots/quals.svg"


rule bwa_map:
    input: "data/genome.fa", "data/samples/{sample}.fastq"
    output: "mapped_reads/{sample}.bam"
    shell: "cat {input} > {output}"


rule samtools_sort:
    input: "mapped_reads/{sample}.bam"
    output: "sorted_reads/{sample}.bam"
    params: prefix="sorted_reads/{sample}"
    shell: "sort {input} > {output}"


rule call:
    input: expand("sorted_reads/{sample}.bam", sample=SAMPLES)
    output: "calls/all.vcf"
    shell: "cat {input} > {output}"


rule plot_quals:
    input: "calls/all.vcf"
    output: "plots/quals.svg", "plots/metrics.json"
    shell: "echo '<svg/>' > {output[0]}; echo '{{\\"quality\\": 3}}' > {output[1]}"
"""


def test_a_foreign_snakefile_is_tracked(tmp_path: Path) -> None:
    project = Project(tmp_path, tracked=True)
    project.write("Snakefile", TUTORIAL)
    for name in ("genome.fa", "samples/A.fastq", "samples/B.fastq"):
        project.write(f"data/{name}", name)
    done = project.snakemake("--logger", "mlflow", "--logger-mlflow-experiment", "tutorial")
    assert done.returncode == 0, done.stderr
    assert "MLflow: 6 jobs logged" in done.stderr
    runs = {run.info.run_name: run for run in job_runs(project, experiment="tutorial")}
    assert len(runs) == 6
    mapped = runs["bwa_map/sample=A"]
    assert [dataset.name for dataset in datasets(mapped)] == [
        "data/genome.fa",
        "data/samples/A.fastq",
    ]
    assert mapped.data.tags["ml_experiment.command"].startswith("cat data/genome.fa")
    assert runs["samtools_sort/sample=A"].data.params == {
        "params_x005B_0_x005D_": "'sorted_reads/A'"
    }
    assert runs["plot_quals"].data.metrics == {"quality": 3.0}
    assert not (tmp_path / "results").exists()


# ---- faults --------------------------------------------------------------------------------------


def answers(address: str) -> None:
    """Wait until a server of MLflow's answers."""
    for _ in range(600):
        try:
            urlopen(f"{address}/health", timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"no server of MLflow's answers at {address}")


class Server:
    """A real MLflow server that can be killed and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        store = f"sqlite:///{self.folder / 'server.db'}"
        words = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store]
        words += ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        words += ["--artifacts-destination", str(self.folder / "artifacts")]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "server.log").open("wb") as log:
            self.process = subprocess.Popen(
                words, cwd=self.folder, env={**os.environ, **quiet}, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        answers(self.uri)

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of something that is no MLflow: a stand-in for a server that hangs or fails."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        over = threading.Event()
        held: list[socket.socket] = []

        def serve() -> None:
            while not over.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                held.append(connection)
                answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            listener.close()
            for connection in held:
                connection.close()


def fails(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    connection.close()


def hangs(connection: socket.socket) -> None:
    """Takes the request and says nothing."""


SHORT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (None, "nobody answers there"),
        (fails, "the server has an error of its own (status 500)"),
        (hangs, "it does not answer in time"),
    ],
    ids=["down", "500", "hanging"],
)
def test_a_server_that_is_no_help(
    make: Make, answer: Callable[[socket.socket], None] | None, told: str
) -> None:
    project = make(TWO, a_py=A)
    project.tracked = True
    with answering(answer or hangs) as uri:
        address = uri if answer else "http://127.0.0.1:9"
        done = project.snakemake(MLFLOW_TRACKING_URI=address, **SHORT)
    assert done.returncode == 0, done.stderr
    assert f"MLflow: {address}: {told}; 2 records are kept" in done.stderr
    assert "Traceback" not in done.stderr
    assert (project.folder / "results/b/p.txt").exists()
    assert project.snakemake().returncode == 0  # now into the embedded database
    assert_all_there(project)


def test_a_server_that_dies_in_the_middle_and_comes_back(make: Make, tmp_path: Path) -> None:
    project = make(
        "name: x\nsteps:\n  a: {run: 'python a.py {outputs.o}', outputs: {o: o}, replicates: 12}\n",
        a_py="import os, sys, time\nif 'seed-6' in sys.argv[1]:\n    open('half', 'w')\n"
        "    while not os.path.exists('dead'):\n        time.sleep(0.05)\nopen(sys.argv[1], 'w')\n",
    )
    project.tracked = True
    server = Server(tmp_path)
    server.start()
    try:
        killer = threading.Thread(target=_kill_at_half, args=(project, server))
        killer.start()
        done = project.snakemake(MLFLOW_TRACKING_URI=server.uri, **SHORT)
        killer.join()
        assert done.returncode == 0, done.stderr
        assert "records are kept" in done.stderr
        server.start()
        sent = project.ours("track", MLFLOW_TRACKING_URI=server.uri)
        assert sent.returncode == 0, sent.stderr
        assert_all_there(project, server.uri)
        assert "has everything" in project.ours("track", MLFLOW_TRACKING_URI=server.uri).stdout
    finally:
        server.kill()


def _kill_at_half(project: Project, server: Server) -> None:
    for _ in range(1200):
        if (project.folder / "half").exists():
            break
        time.sleep(0.05)
    time.sleep(1)  # the writer is in the middle of what is done so far
    server.kill()
    project.write("dead", "")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"not a database at all, but long enough to look like a file\n" * 20, "no database"),
        ("half", "database"),
    ],
    ids=["corrupt", "half-migrated"],
)
def test_a_database_that_is_none(make: Make, content: bytes | str, told: str) -> None:
    project = make(TWO, a_py=A)
    project.tracked = True
    file = project.folder / "mlflow.db"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        with closing(sqlite3.connect(file)) as database, database:
            database.execute("CREATE TABLE alembic_version (version_num TEXT)")
            database.execute("INSERT INTO alembic_version VALUES ('451aebb31d03')")
            database.execute("CREATE TABLE experiments (experiment_id INTEGER)")
    before = file.read_bytes()
    done = project.snakemake()
    assert done.returncode == 0, done.stderr
    # a slow machine may say first that it is still sending
    line = next(row for row in reversed(done.stderr.splitlines()) if row.startswith("MLflow:"))
    assert told in line
    assert "2 records are kept" in line
    if isinstance(content, bytes):
        assert file.read_bytes() == before
    file.rename(file.with_suffix(".broken"))
    assert project.ours("track").returncode == 0
    assert_all_there(project)


def test_a_database_that_is_locked(tracked: Project, tmp_path: Path) -> None:
    project = tracked.copy(tmp_path / "p")
    with closing(sqlite3.connect(project.folder / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        done = project.snakemake("--forcerun", "other")
        other.execute("ROLLBACK")
    assert done.returncode == 0, done.stderr
    assert "locked by another program" in done.stderr
    assert project.ours("track").returncode == 0
    assert_all_there(project)


def test_an_old_folder_of_mlflow_is_no_trap(make: Make) -> None:
    project = make(TWO, a_py=A)
    project.tracked = True
    project.write("mlruns/0/meta.yaml", "artifact_location: mlruns/0\n")
    assert project.snakemake().returncode == 0
    assert_all_there(project)
    assert [p.name for p in (project.folder / "mlruns").rglob("*")] == ["0", "meta.yaml"]


def test_records_that_cannot_be_written_do_not_stop_a_run(make: Make) -> None:
    project = make(TWO, a_py=A)
    project.tracked = True
    (project.folder / ".ml_experiment").mkdir()
    (project.folder / ".ml_experiment/records.jsonl").mkdir()
    done = project.snakemake()
    assert done.returncode == 0, done.stderr
    assert "records.jsonl: cannot be read: Is a directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_two_runs_at_once(make: Make) -> None:
    step = "{run: 'echo x > {outputs.o}', outputs: {o: o}, seeding: none, replicates: 9}"
    project = make(f"name: two\nsteps:\n  a: {step}\n  b: {step}\n")
    project.tracked = True
    found: dict[str, subprocess.CompletedProcess[str]] = {}

    def run(step: str) -> None:
        outputs = [f"results/{step}/seed-{replicate}/o" for replicate in range(9)]
        found[step] = project.call("snakemake", "--cores", "1", "--nolock", *outputs)

    threads = [threading.Thread(target=run, args=(step,)) for step in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {step: done.returncode for step, done in found.items()} == {"a": 0, "b": 0}, found
    assert len(recorded(project)) == 18
    assert project.ours("track").returncode == 0
    assert_all_there(project)


@pytest.mark.parametrize("whom", ["snakemake", "writer", "all"])
def test_nothing_is_lost_or_doubled_when_processes_are_killed(make: Make, whom: str) -> None:
    project = make(
        "name: x\nsteps:\n  a: {run: 'python a.py {outputs.o}', outputs: {o: o}, replicates: 30}\n",
        a_py="import sys\nopen(sys.argv[1], 'w').write('x')\n",
    )
    project.tracked = True
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    run = subprocess.Popen(
        ["snakemake", "--cores", "2"], cwd=project.folder, env={**os.environ, "PATH": path},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    ledger = project.folder / ".ml_experiment/tracking"
    for _ in range(1200):
        lines = [line for file in ledger.glob("*.jsonl") for line in file.read_bytes().splitlines()]
        if len(lines) > 12:
            break
        time.sleep(0.02)
    writers = _processes("ml_experiment.services.writer", project.folder)
    assert writers
    if whom in ("writer", "all"):
        for pid in writers:
            os.kill(pid, signal.SIGKILL)
    if whom in ("snakemake", "all"):
        os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    for _ in range(100):  # a writer that was left has a few seconds
        if not _processes("ml_experiment.services.writer", project.folder):
            break
        time.sleep(0.1)
    assert not _processes("ml_experiment.services.writer", project.folder)
    project.snakemake("--unlock")
    again = project.snakemake("--rerun-incomplete")
    assert again.returncode == 0, again.stderr
    assert project.ours("track").returncode == 0
    assert_all_there(project)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_what_is_recorded_is_sent_although_the_run_and_its_jobs_are_ended(
    make: Make, number: int
) -> None:
    """The guard of -e forkserver ends every process of the run but the one that sends."""
    project = make(
        "name: x\nsteps:\n  a: {run: 'echo x > {outputs.o}', outputs: {o: o}, seeding: none}\n"
        "  b: {run: 'sleep 100; cp {inputs.o} {outputs.p}', inputs: {o: a.o}, outputs: {p: p}}\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "1", "-e", "forkserver"],
        cwd=project.folder, start_new_session=True, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    log = project.folder / "logs/b.log"
    until = time.monotonic() + 60
    while not log.exists() and time.monotonic() < until:
        time.sleep(0.02)  # importing MLflow takes longer: nothing is sent yet
    assert _processes("ml_experiment.services.writer", project.folder)
    os.kill(run.pid, number)
    _, told = run.communicate(timeout=60)
    until = time.monotonic() + 30
    while _processes("ml_experiment.services.writer", project.folder) and time.monotonic() < until:
        time.sleep(0.1)
    if number == signal.SIGINT:
        assert "MLflow: 1 job logged" in told or "MLflow: 2 jobs logged" in told
    if number == signal.SIGKILL:
        lines = (project.folder / ".ml_experiment/runs.jsonl").read_text().splitlines()
        assert json.loads(lines[-1])["state"] == "killed"


def _processes(module: str, folder: Path) -> list[int]:
    """The processes that run a module for a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if module in words and str(folder) in words:
                found.append(int(entry.name))
    return found


def test_a_database_that_was_thrown_away_is_filled_again(tracked: Project, tmp_path: Path) -> None:
    project = tracked.copy(tmp_path / "p")
    (project.folder / "mlflow.db").unlink()
    assert "9 jobs sent" in project.ours("track").stdout
    assert_all_there(project)


def test_a_clone_with_the_records_does_not_send_them_again(
    tracked: Project, tmp_path: Path
) -> None:
    import shutil

    project = tracked.copy(tmp_path / "p")
    uri = f"sqlite:///{tmp_path / 'shared.db'}"
    assert "9 jobs sent" in project.ours("track", "--to", uri).stdout
    shutil.rmtree(project.folder / ".ml_experiment/tracking")
    assert "has everything" in project.ours("track", "--to", uri).stdout
    assert_all_there(project, uri)
