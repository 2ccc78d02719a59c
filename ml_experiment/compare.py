"""Two records of one job: in what they differ, and whether they do although nothing declared does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ml_experiment import keys
from ml_experiment.hashing import canonical

FACTORS = 4  # as many are named

Pairs = Mapping[str, tuple[Any, Any]]  # name -> before and now; None: not there


@dataclass(frozen=True)
class Difference:
    """In what two records of one job differ.

    Attributes:
        job: its name.
        only: "first" or "second", where the other run does not have it.
        state: finished or failed, if they are not the same.
        key: the parts of its key, such as `parameter C`, `code`, `environment`.
        params, metrics: by name.
        seed: as one pair named `seed`.
        inputs, outputs: path -> digest.
        packages: what its programs imported, and the version of Python as `python`.
        surroundings: image, CPU, kernels, GPUs, host.
    """

    job: str
    only: str | None = None
    state: Pairs = field(default_factory=dict)
    key: tuple[str, ...] = ()
    params: Pairs = field(default_factory=dict)
    seed: Pairs = field(default_factory=dict)
    metrics: Pairs = field(default_factory=dict)
    inputs: Pairs = field(default_factory=dict)
    outputs: Pairs = field(default_factory=dict)
    packages: Pairs = field(default_factory=dict)
    surroundings: Pairs = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return any(value for name, value in vars(self).items() if name != "job")


def between(before: Mapping[str, Any], now: Mapping[str, Any]) -> Difference:
    """In what two records of one job, whole, with their details, differ."""
    was, new = _surroundings(before), _surroundings(now)
    versions = [_versions(record) for record in (before, now)]
    rest = [
        {n: v for n, v in each.items() if n not in versions[0] | versions[1]} for each in (was, new)
    ]
    hosts = [{"host": r["host"]} if r.get("host") else {} for r in (before, now)]
    return Difference(
        job=str(now["job"]),
        state=pairs({"state": before["state"]}, {"state": now["state"]}),
        key=tuple(keys.changes(before.get("key") or {}, now.get("key") or {})),
        params=pairs(before.get("params") or {}, now.get("params") or {}),
        seed=pairs({"seed": before["seed"]}, {"seed": now["seed"]}),
        metrics=pairs(before["metrics"], now["metrics"]),
        inputs=pairs(_digests(before, "inputs"), _digests(now, "inputs")),
        outputs=pairs(_digests(before, "outputs"), _digests(now, "outputs")),
        packages=pairs(*versions),
        surroundings=pairs({**rest[0], **hosts[0]}, {**rest[1], **hosts[1]}),
    )


def pairs(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What two mappings do not both have: name -> before and now, sorted by name."""
    return {
        name: (before.get(name), now.get(name))
        for name in sorted({*before, *now})
        if canonical(before.get(name)) != canonical(now.get(name))  # a NaN equals itself
    }


def _digests(record: Mapping[str, Any], kind: str) -> dict[str, str | None]:
    """Path -> digest. Key files are told by what is in them."""
    found = record[kind].items()
    return {path: entry["hash"] for path, entry in found if path != record.get("key_file")}


def _versions(record: Mapping[str, Any]) -> dict[str, str]:
    environment = record.get("environment") or {}
    python = {"python": environment["python"]} if environment.get("python") else {}
    return {**(environment.get("distributions") or {}), **python}


def unexplained(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """What came out differently, where key and inputs were the same; None where nothing did.

    Args:
        before: an earlier record of the job, whole, with its details.
        now: the record of its new run.
    """
    if _made_of(before) != _made_of(now):
        return None
    differences = [*_metrics(before["metrics"], now["metrics"])] or [*_outputs(before, now)]
    if not differences:
        return None
    shown = ", ".join(differences[:FACTORS]) + (", …" if len(differences) > FACTORS else "")
    factors = [*_factors(before, now)]
    if factors:
        return f"{now['job']}: {shown}; what is not declared: {', '.join(factors[:FACTORS])}"
    return f"{now['job']}: {shown}, although nothing declared changed"


def _made_of(record: Mapping[str, Any]) -> str:
    """All that was declared; of a rule without a key its command and code."""
    inputs = {path: entry["hash"] for path, entry in record["inputs"].items()}
    declared = record["key_digest"] or [record.get("command"), record.get("code")]
    return canonical([inputs, declared, (record.get("trial") or {}).get("suggestion")])


def _metrics(before: Mapping[str, float], now: Mapping[str, float]) -> Iterator[str]:
    for name in sorted({*before, *now}):
        was, new = before.get(name), now.get(name)
        if canonical(was) != canonical(new):  # a NaN equals itself
            yield f"{name} {_number(was)} → {_number(new)}"


def _number(value: float | None) -> str:
    if value is None:
        return "none"
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def _outputs(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for path, entry in now["outputs"].items():
        was = before["outputs"].get(path, {}).get("hash")
        if was is not None and entry["hash"] is not None and was != entry["hash"]:
            yield f"{path} has other bytes"


def _factors(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What differs between the two runs among all that the boot reports saw."""
    was, new = _surroundings(before), _surroundings(now)
    for name in sorted({*was, *new}):
        if name in was and name in new and was[name] != new[name]:
            yield f"{name} {was[name]} → {new[name]}"


def _surroundings(record: Mapping[str, Any]) -> dict[str, str]:
    environment = record.get("environment") or {}
    found = dict(environment.get("distributions") or {})
    for name in ("python", "image"):
        if environment.get(name):
            found[name] = str(environment[name])
    for line in record.get("boot") or ():
        for library in line.get("blas") or ():
            if library.get("kernel"):
                found[f"the kernel of {library['library']}"] = library["kernel"]
        platform = line.get("platform") or {}
        if platform.get("cpu"):
            found["CPU"] = platform["cpu"]
        for index, gpu in enumerate(line.get("gpus") or ()):
            found[f"GPU {index}"] = str(gpu.get("name", gpu) if isinstance(gpu, dict) else gpu)
    return found
