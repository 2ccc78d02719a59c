"""A record as a run of MLflow: names, tags, parameters, metrics, datasets. Nothing is imported.

Tags are `ml_experiment.<field>`. MLflow allows letters, digits and `/_.- :` in names; any other
character is written `_xHHHH_`, its code point in hexadecimal, as SQL/XML writes names (ISO/IEC
9075-14, 9.1), so that it can be read back.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from ml_experiment.hashing import canonical, of_text
from ml_experiment.placeholders import as_text

PREFIX = "ml_experiment."
TRIALS = ".trial"  # what stands behind a study's name in that of the rule of its trials
MAX_NAME = 250
MAX_VALUE = 5_000  # of a tag; servers take that much since 2.0, newer ones 8,000
MAX_PARAM = 6_000
MODELS = frozenset(
    (
        *(".bst", ".cbm", ".ckpt", ".gguf", ".h5", ".joblib", ".keras", ".onnx", ".pb", ".pickle"),
        *(".pkl", ".pt", ".pth", ".rds", ".safetensors", ".tflite", ".ubj"),
    )
)


class Point(NamedTuple):
    """One value of a metric; `time` in ms since 1970."""

    name: str
    value: float
    step: int
    time: int


class Dataset(NamedTuple):
    """An input, by content."""

    name: str
    digest: str
    source: str  # JSON: path, hash, and the run that made it
    profile: str  # JSON: size


class Model(NamedTuple):
    """An output that is a model."""

    name: str
    path: str
    digest: str
    requirements: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """One run as MLflow gets it. Times in ms since 1970; `end` is None while it goes on.

    Attributes:
        key: what it is of, as in the ledger.
        found: tags that no other run has, by which it is found again.
        whole: the record, where its tags do not hold all of it.
    """

    key: str
    name: str
    experiment: str
    start: int
    end: int | None
    status: str
    found: Mapping[str, str]
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[Point, ...] = ()
    datasets: tuple[Dataset, ...] = ()
    models: tuple[Model, ...] = ()
    whole: str | None = None


def of_run(line: Mapping[str, Any]) -> Run:
    """A run of Snakemake: the parent of its jobs."""
    git, host = line.get("git") or {}, line.get("host") or {}
    tags = {
        "command": line.get("command"),
        "config": line.get("config") or None,
        "cores": line.get("cores"),
        "file": line.get("file"),
        "git": git or None,
        "host": host or None,
        "seed": line.get("seed"),
    }
    ended = line.get("ended")
    return Run(
        key=f"run:{line['run']}",
        name=str(line["started"]).replace("T", " ")[:19],
        experiment=str(line["experiment"]),
        start=milliseconds(line["started"]),
        end=milliseconds(ended) if ended else None,
        status=_STATUS.get(str(line.get("state")), "RUNNING"),
        found={f"{PREFIX}kind": "run", f"{PREFIX}run": line["run"]},
        tags={**_tags(tags)[0], **_source("Snakefile", git.get("commit"))},
    )


def group(record: Mapping[str, Any]) -> str | None:
    """The rule whose jobs have a run of their own between them and Snakemake's; None for others.

    All steps of a study's trials, and the job that gathers them, are in one.
    """
    rule = str(record["rule"])
    if record.get("trial") is not None:
        return rule.partition(TRIALS)[0] + TRIALS
    if "study" in (record.get("key") or {}):
        return rule + TRIALS
    return rule if record["wildcards"] and record.get("key_digest") is not None else None


def of_step(line: Mapping[str, Any], rule: str, start: str) -> Run:
    """All jobs of one step in a run of Snakemake: between them and their parent."""
    return Run(
        key=f"step:{line['run']}/{rule}",
        name=rule.removesuffix(TRIALS),
        experiment=str(line["experiment"]),
        start=milliseconds(start),
        end=None,
        status="RUNNING",
        found={
            f"{PREFIX}kind": "step",
            f"{PREFIX}run": line["run"],
            f"{PREFIX}rule": rule,
        },
    )


def of_record(
    record: Mapping[str, Any],
    line: Mapping[str, Any],
    made_by: Callable[[str, str], str | None],
    curves: Mapping[str, Iterable[tuple[int, float]]],
) -> Run:
    """A job.

    Args:
        record: whole, with its details.
        line: of the run of Snakemake that it belongs to.
        made_by: path and hash -> the MLflow run that made it.
        curves: metric -> its points, where it has more than a final value.
    """
    end = milliseconds(record["ended"])
    environment = {
        name: value
        for name, value in (record.get("environment") or {}).items()
        if name != "distributions" and value
    }
    code = dict(record.get("code") or {})
    tags, whole = _tags(
        {
            "attempt": record["attempt"],
            "code": code or None,
            "command": record.get("command") or None,
            "environment": environment or None,
            "exit_code": record.get("exit_code"),
            "host": _host(record) or (line.get("host") or {}).get("hostname"),
            "inputs": {path: entry["hash"] for path, entry in record["inputs"].items()},
            "job": record["job"],
            "key": record.get("key_digest"),
            "log": record.get("log") or None,
            "outputs": {path: entry["hash"] for path, entry in record["outputs"].items()},
            "rule": record["rule"],
            "run": record["run"],
            "seed": "null" if record["seed"] is None else record["seed"],
            "state": record["state"],
            "tail": record.get("tail") or None,
            "trial": record.get("trial"),
            "wildcards": record["wildcards"],
        }
    )
    source = _script(record.get("key") or {}, code) or record["rule"]
    commit = (line.get("git") or {}).get("commit")
    return Run(
        key=f"record:{record['id']}",
        name=record["job"],
        experiment=str(line["experiment"]),
        start=milliseconds(record["started"]),
        end=end,
        status=_STATUS["failed" if _failed_trial(record) else record["state"]],
        found={f"{PREFIX}record": record["id"]},
        tags={f"{PREFIX}kind": "job", **tags, **_source(source, commit)},
        params=_params(record),
        metrics=tuple(_points(record["metrics"], curves, end)),
        datasets=tuple(_datasets(record["inputs"], made_by)),
        models=tuple(_models(record)),
        whole=canonical(dict(record)) if whole else None,
    )


def of_best(run: Run, best: Mapping[str, Any]) -> Run:
    """The job that gathers a study, as its best trial: that one's number, parameters and values.

    Args:
        run: the job.
        best: what `best.json` says.
    """
    params = {"best_trial": best["number"], **best["params"]}
    values = _points(best["values"], {}, run.end or run.start)
    return replace(run, params=_params({"params": params, "seed": None}), metrics=tuple(values))


_STATUS = {"finished": "FINISHED", "found": "FINISHED", "failed": "FAILED", "killed": "KILLED"}


def _failed_trial(record: Mapping[str, Any]) -> bool:
    """To Snakemake its job is done: that it failed is a result of its study."""
    return (record.get("trial") or {}).get("state") == "failed"


def milliseconds(moment: str) -> int:
    """A record's time in ms since 1970."""
    return round(dt.datetime.fromisoformat(moment).timestamp() * 1000)


def _script(key: Mapping[str, Any], code: Iterable[str]) -> str | None:
    """The file that a job runs first, among those that its key names."""
    function = str(key.get("call", "")).partition(":")[0].replace(".", "/")
    own = [f for f in code if f == f"{function}.py" or f in str(key.get("run", ""))]
    return next(iter([*own, *code]), None)


def _source(name: str, commit: str | None) -> dict[str, str]:
    found = {"mlflow.source.name": name, "mlflow.source.type": "LOCAL"}
    return {**found, "mlflow.source.git.commit": commit} if commit else found


def _host(record: Mapping[str, Any]) -> str | None:
    """Where the job itself ran: on a cluster not where Snakemake did."""
    if record.get("host"):
        return str(record["host"])
    platforms = (line.get("platform") or {} for line in record.get("boot") or ())
    return next((p["host"] for p in platforms if p.get("host")), None)


def _tags(fields: Mapping[str, Any]) -> tuple[dict[str, str], bool]:
    """Tags, and whether one is too long for a tag: the record is then an artifact."""
    found, long = {}, False
    for name, value in fields.items():
        if value is None:
            continue
        text = value if isinstance(value, str) else canonical(value)
        if len(text) > MAX_VALUE and name == "tail":
            text = text[-MAX_VALUE:]
        elif len(text) > MAX_VALUE:
            text, long = f"{len(text):,} characters: see the artifact record.json", True
        found[PREFIX + name] = text
    return found, long


def _params(record: Mapping[str, Any]) -> dict[str, str]:
    """Parameters by name, those inside mappings by dotted names; the seed beside them."""
    found: dict[str, str] = {}

    def lay(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping) and value:
            for name, item in value.items():
                lay(f"{prefix}.{name}" if prefix else str(name), item)
        else:
            text = as_text(value)
            cut = text if len(text) <= MAX_PARAM else text[: MAX_PARAM - 1] + "…"
            found[escape(prefix)] = cut

    lay("", dict(record.get("params") or {}))
    found.pop(escape(""), None)
    if record["seed"] is not None:
        found.setdefault("seed", str(record["seed"]))
    return found


def _points(
    final: Mapping[str, float], curves: Mapping[str, Iterable[tuple[int, float]]], time: int
) -> Iterable[Point]:
    for name, value in final.items():
        points = [*curves.get(name, ())]
        for step, at in points:
            yield Point(escape(name), float(at), step, time)
        if not points or not _equal(points[-1][1], value):
            last = points[-1][0] + 1 if points else 0
            yield Point(escape(name), float(value), last, time)


def _equal(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _datasets(
    inputs: Mapping[str, Mapping[str, Any]], made_by: Callable[[str, str], str | None]
) -> Iterable[Dataset]:
    for path, entry in inputs.items():
        digest = entry["hash"]
        source = {
            "hash": digest,
            "path": path,
            "run": made_by(path, digest) if digest else None,
        }
        size = {name: entry[name] for name in ("files", "size") if name in entry}
        shown = digest or str(entry.get("reason", "unknown"))[:36]
        yield Dataset(_short(path, 500), shown, canonical(source), json.dumps(size))


def _models(record: Mapping[str, Any]) -> Iterable[Model]:
    """The outputs that are models: by the name that the step gives them, or by their ending."""
    if record["state"] != "finished":
        return
    named = (record.get("key") or {}).get("outputs") or {}
    ran = (record.get("environment") or {}).get("distributions") or {}
    requirements = tuple(f"{name}=={version}" for name, version in sorted(ran.items()))
    for path, entry in record["outputs"].items():
        pure = PurePosixPath(path)
        name = next((n for n, file in named.items() if path.endswith(f"/{file.rstrip('/')}")), None)
        if entry["hash"] and (name in ("model", "models") or pure.suffix.lower() in MODELS):
            shown = re.sub(r"[^\w-]", "-", f"{record['rule']}-{name or pure.stem}")
            yield Model(shown, path, entry["hash"], requirements)


def escape(name: str) -> str:
    """A name as MLflow takes it; `unescape` gives it back, unless it had to be shortened."""
    if not name:
        return "_x_"
    text = _RESERVED.sub(_escaped, name)
    if posixpath.normpath(text) != text or text.startswith(("/", "..")) or text == ".":
        text = re.sub(r"[/.]", _escaped, text)
    return _short(text, MAX_NAME)


def unescape(name: str) -> str:
    """The name that `escape` was given."""
    if name == "_x_":
        return ""
    return re.sub(r"_x([0-9A-F]{4,6})_", lambda found: chr(int(found[1], 16)), name)


# What MLflow refuses, and an underscore that would read as the beginning of an escape.
_RESERVED = re.compile(r"[^\w./: -]|_(?=x[0-9A-F]{4})|^_(?=x_$)")


def _escaped(found: re.Match[str]) -> str:
    return f"_x{ord(found[0]):04X}_"


def _short(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    return f"{text[: limit - 19]}...{of_text(text)[:16]}"
