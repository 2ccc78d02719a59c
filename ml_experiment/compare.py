"""Two records of one job: whether they differ although nothing declared does, and what may be why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ml_experiment.hashing import canonical

FACTORS = 4  # as many are named


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
