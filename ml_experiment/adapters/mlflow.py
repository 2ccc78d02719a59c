"""The only importer of MLflow: runs go in through its public client, a few calls for each.

Importing this module takes a second, so only the writer process and `ml-experiment track` do.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

# Before the import: no telemetry, and a dead server costs seconds instead of minutes.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "8")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModel,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    Run,
    ViewType,
)
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from ml_experiment import tracked
from ml_experiment.adapters import sqlite
from ml_experiment.errors import MLExperimentError

ARTIFACTS = "mlartifacts"  # beside the embedded database
MODEL_BYTES = 20_000_000  # a larger model is described, and its bytes stay where they are
KIND = {"mlflow.experimentKind": "custom_model_development"}  # else the page is one of prompts
LOCKED = 3.0  # seconds to wait for another program that writes into the database
BATCH = {"metrics": 1000, "params": 100}  # as many as a log_batch may have


class TrackingError(MLExperimentError):
    """The server, not one run, is the trouble: nothing more can be sent now."""


class RefusedError(MLExperimentError):
    """The server takes others, and not this one run."""


class Tracker:
    """A tracking server or database.

    Args:
        uri: its address.
        folder: the workspace, for the artifacts of an embedded database.
    """

    def __init__(self, uri: str, folder: Path) -> None:
        self.uri = uri
        self.folder = folder
        with trouble():
            if file := _sqlite_file(uri):
                create_store(file)
        self.probe()
        with trouble():
            self.client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        self._experiments: dict[str, str] = {}

    def probe(self) -> None:
        """Whether an embedded database can be written now: MLflow itself would wait for minutes.

        Raises:
            TrackingError: it is locked, or no database.
        """
        if file := _sqlite_file(self.uri):
            with trouble(), closing(sqlite3.connect(file, timeout=LOCKED)) as database:
                database.execute("BEGIN IMMEDIATE")
                database.rollback()

    def experiment(self, name: str) -> str:
        """The id of an experiment, which is made where it is not there.

        Raises:
            TrackingError: there is none to be had.
        """
        if name not in self._experiments:
            with trouble():
                known = self.client.get_experiment_by_name(name)
                if known is not None and known.lifecycle_stage != "active":
                    raise TrackingError(f"the experiment {name} was deleted there")
                self._experiments[name] = known.experiment_id if known else self._found(name)
        return self._experiments[name]

    def _found(self, name: str) -> str:
        """Make an experiment. Artifacts of an embedded database are beside it."""
        place = self.folder.resolve() / ARTIFACTS / urllib.parse.quote(name, safe="")
        location = place.as_uri() if _sqlite_file(self.uri) else None
        made: str = self.client.create_experiment(name, location, tags=KIND)
        return made

    def exists(self, run_id: str) -> bool:
        """Whether a run that was sent is still there, be it in the bin."""
        with trouble():
            try:
                self.client.get_run(run_id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return False
        return True

    def find(self, run: tracked.Run) -> str | None:
        """The id of a run that may be there already."""
        wanted = " and ".join(f"tags.`{name}` = '{_quoted(v)}'" for name, v in run.found.items())
        return next((f.info.run_id for f in self._search(run.experiment, wanted)), None)

    def records(self, experiment: str) -> dict[str, str]:
        """Record id -> run id, of everything that the server has of an experiment and is complete."""
        tag = f"{tracked.PREFIX}record"
        return {
            found.data.tags[tag]: found.info.run_id
            for found in self._search(experiment, f"tags.`{tag}` LIKE '%'")
            if found.info.status != "RUNNING"
        }

    def _search(self, experiment: str, wanted: str) -> Iterator[Run]:
        place, token = [self.experiment(experiment)], None
        while True:
            with trouble():
                page = self.client.search_runs(place, wanted, ViewType.ALL, 1000, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def send(
        self,
        run: tracked.Run,
        parent: str | None,
        files: Mapping[str, Path],
        models: Sequence[tuple[tracked.Model, Path | None]],
        existing: str | None = None,
    ) -> str:
        """Send one run with all that belongs to it.

        Args:
            run: what it says.
            parent: the id of the run that it is nested in.
            files: name -> file or folder, its artifacts.
            models: its models, each with its file, where that is to be sent too.
            existing: the id of the same run, begun earlier and not completed.

        Returns:
            Its id.

        Raises:
            TrackingError: the server does not answer, or refuses everything.
            RefusedError: the server refuses this run.
        """
        with trouble():
            place = self.experiment(run.experiment)
            artifacts = None
            if existing is None:
                run_id, artifacts = self._create(place, run, parent)
            else:
                run_id = existing
            if models:
                known = self._known(place, run_id) if existing else {}
                self._models(place, run, run_id, models, known)
            self._batch(run, run_id)
            datasets = [_dataset(dataset) for dataset in run.datasets]
            for start in range(0, len(datasets), 1000):
                self.client.log_inputs(run_id, datasets[start : start + 1000])
            if files or run.whole:
                with _stage_for(artifacts) as (stage, there):
                    _stage(stage, files, run.whole)
                    if not there:
                        self.client.log_artifacts(run_id, str(stage))
            if run.end is not None:
                self.client.set_terminated(run_id, run.status, run.end)
        return run_id

    def add(self, run: tracked.Run, run_id: str) -> None:
        """Parameters and metrics for a run that is there; the same ones again change nothing."""
        with trouble():
            self._batch(run, run_id)

    def end(self, run_id: str, status: str, end: int) -> None:
        """End a run that others are nested in."""
        with trouble():
            self.client.set_terminated(run_id, status, end)

    def _create(self, place: str, run: tracked.Run, parent: str | None) -> tuple[str, str]:
        """Its id, and where its artifacts go."""
        nested = {"mlflow.parentRunId": parent} if parent else {}
        tags = {**run.found, **run.tags, **nested}
        made = self.client.create_run(place, start_time=run.start, tags=tags, run_name=run.name)
        return made.info.run_id, made.info.artifact_uri

    def _batch(self, run: tracked.Run, run_id: str) -> None:
        """Parameters and metrics: in one call, unless they are many."""
        metrics = [Metric(p.name, p.value, p.time, p.step) for p in run.metrics]
        params = [Param(name, value) for name, value in run.params.items()]
        while metrics or params:
            most = BATCH["metrics"] - min(len(params), BATCH["params"])
            self.client.log_batch(run_id, metrics[:most], params[: BATCH["params"]], ())
            metrics, params = metrics[most:], params[BATCH["params"] :]

    def _models(
        self,
        place: str,
        run: tracked.Run,
        run_id: str,
        models: Sequence[tuple[tracked.Model, Path | None]],
        known: Mapping[str, LoggedModel],
    ) -> None:
        """Models as outputs of a run, as far as it has not got them yet."""
        logged = []
        for model, file in models:
            made = known.get(model.path) or self._begun(place, run, run_id, model)
            self._finish(made, run, model, file)
            logged.append(made.model_id)
        outputs = self.client.get_run(run_id).outputs if known else None
        told = {output.model_id for output in outputs.model_outputs} if outputs else ()
        # the same output for a second time is an error
        new = [LoggedModelOutput(model_id, 0) for model_id in logged if model_id not in told]
        if new:
            self.client.log_outputs(run_id, new)

    def _known(self, place: str, run_id: str) -> dict[str, LoggedModel]:
        """Path -> model, of those that a run has already."""
        found: dict[str, LoggedModel] = {}
        wanted, token = f"source_run_id = '{run_id}'", None
        while True:
            page = self.client.search_logged_models([place], wanted, page_token=token)
            found.update((model.tags.get(f"{tracked.PREFIX}path", ""), model) for model in page)
            token = page.token
            if not token:
                return found

    def _begun(
        self, place: str, run: tracked.Run, run_id: str, model: tracked.Model
    ) -> LoggedModel:
        """A logged model that has no files yet."""
        tags = {
            f"{tracked.PREFIX}hash": model.digest,
            f"{tracked.PREFIX}path": model.path,
            **run.found,
        }
        return self.client.create_logged_model(
            place, name=model.name, source_run_id=run_id, tags=tags, params=dict(run.params)
        )

    def _finish(
        self, made: LoggedModel, run: tracked.Run, model: tracked.Model, file: Path | None
    ) -> None:
        """The files of a logged model: its own as it is, what it needs, where its bytes are."""
        if made.status == LoggedModelStatus.READY:
            return
        with _stage_for(made.artifact_location) as (folder, there):
            name = Path(model.path).name
            flavor = {"file": name, "md5": model.digest, "path": model.path}
            described = Model(
                run_id=made.source_run_id, model_id=made.model_id,
                flavors={"ml_experiment": flavor}, utc_time_created=str(run.start),
            )  # fmt: skip
            described.save(str(folder / "MLmodel"))
            (folder / "requirements.txt").write_text("".join(f"{r}\n" for r in model.requirements))
            if file is not None:
                shutil.copyfile(file, folder / name)
            if not there:
                self.client.log_model_artifacts(made.model_id, str(folder))
        self.client.finalize_logged_model(made.model_id, "READY")


def create_store(file: Path) -> None:
    """Make an embedded database, whole or not at all, that several may read while one writes.

    To be called under a lock: several processes that make one at once break it for good.
    """
    if file.exists() and file.stat().st_size:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".mlflow-", dir=file.parent) as folder:
        new = Path(folder) / file.name
        with sqlite.waits_for_nothing():  # it would be for 1,100 writes
            MlflowClient(f"sqlite:///{new}", f"sqlite:///{new}").search_experiments(max_results=1)
        # Only now: MLflow keeps its connection, and would go on with a log in this folder.
        with closing(sqlite3.connect(new)) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with new.open("rb+") as whole:
            os.fsync(whole.fileno())
        os.replace(new, file)


def _sqlite_file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _dataset(dataset: tracked.Dataset) -> DatasetInput:
    made = Dataset(
        dataset.name, dataset.digest, "ml_experiment", dataset.source, profile=dataset.profile
    )
    return DatasetInput(made, [InputTag("mlflow.data.context", "input")])


@contextmanager
def _stage_for(uri: str | None) -> Iterator[tuple[Path, bool]]:
    """A folder to lay artifacts out in, and whether that is where they belong.

    A folder of this machine is written directly: through the client it costs 4 ms a run.
    """
    if uri is not None and uri.startswith("file://"):
        folder = Path(urllib.request.url2pathname(urllib.parse.urlsplit(uri).path))
        folder.mkdir(parents=True, exist_ok=True)
        yield folder, True
    else:
        with tempfile.TemporaryDirectory() as stage:
            yield Path(stage), False


def _stage(folder: Path, files: Mapping[str, Path], whole: str | None) -> None:
    """Lay out artifacts as they are to be sent."""
    for name, file in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.is_dir():
            shutil.copytree(file, target, copy_function=shutil.copyfile, dirs_exist_ok=True)
        else:
            shutil.copyfile(file, target)
    if whole:
        (folder / "record.json").write_text(whole, "utf-8")


@contextmanager
def trouble() -> Iterator[None]:
    """Every exception as one of two: the server is the trouble, or one run that it refuses."""
    try:
        yield
    except MLExperimentError:
        raise
    except MlflowException as error:
        if error.error_code in _REFUSALS:
            raise RefusedError(" ".join(str(error).split())[:200]) from None
        raise TrackingError(told(error)) from None
    except Exception as error:  # noqa: BLE001  # MLflow lets through what its database layers raise
        raise TrackingError(told(error)) from None


_REFUSALS = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS",
             "BAD_REQUEST", "INVALID_STATE"}  # fmt: skip


def told(error: BaseException) -> str:
    """What is wrong with a server, in one clause."""
    text = " ".join(str(error).split())
    for pattern, clause in _CLAUSES:
        if re.search(pattern, text, re.IGNORECASE):
            return clause
    return text[:200]


_CLAUSES = (
    (r"connection refused|failed to establish|name or service not known|name resolution",
     "nobody answers there"),
    (r"timed? ?out", "it does not answer in time"),
    (r"connection (?:aborted|reset)|remote end closed", "the connection broke"),
    (r"\b50\d\b|internal server error", "the server has an error of its own (status 500)"),
    (r"\b40[13]\b|unauthori[sz]ed|permission_denied", "the server wants other credentials"),
    (r"database is locked", "the database is locked by another program"),
    (r"out-of-date database schema|can't locate revision|alembic",
     "the database is of another version of MLflow (`mlflow db upgrade` brings it up to date; copy it first)"),
    (r"file is not a database|malformed|disk image|no such (?:table|column)",
     "it is no database of MLflow, or a broken one: move it away"),
    (r"readonly database|read-only|permission denied", "it cannot be written"),
    (r"unable to open database", "the database cannot be opened"),
    (r"no space left|disk is full", "the disk is full"),
)  # fmt: skip


def _quoted(value: str) -> str:
    return value.replace("'", "\\'")
