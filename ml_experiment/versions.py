"""A version of a registered model: bytes, and what is known of how they were made.

What is known stands in the registry as tags, `ml_experiment.<field>`: texts as they are, anything
else as canonical JSON, so that it can be read back where the record is not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ml_experiment.hashing import DIGEST, canonical
from ml_experiment.tracked import MAX_VALUE, PREFIX

TEXTS = ("description", "format", "framework", "job", "licence", "made", "path", "record", "run")
DATA = ("code", "environment", "git", "inputs", "metrics", "packages", "params", "seed", "size")
# What tells two versions apart, in the order in which a person looks.
COMPARED = ("params", "seed", "metrics", "inputs", "code", "environment", "packages")
RESERVED = ("latest",)  # MLflow gives it a meaning of its own


class Measured(NamedTuple):
    """A metric over the replicates of one step.

    Attributes:
        of: the step, with its case where it has a matrix.
        low, high: of the 95 % interval of the mean; None where there is no spread.
    """

    of: str
    metric: str
    mean: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Version:
    """One version of a model.

    Attributes:
        name: of the model.
        hash: of its bytes, as in DVC: MD5, of a folder with the ending `.dir`.
        facts: what `TEXTS` and `DATA` name, as far as it is known.
        number: in the registry; None where that was not asked.
        aliases: that mean it.
        entry: its file as a record has it, by which it is known that nobody has touched it.
    """

    name: str
    hash: str
    facts: Mapping[str, Any]
    number: int | None = None
    aliases: tuple[str, ...] = ()
    entry: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def key(self) -> tuple[str, str]:
        """What makes it one version: the name, and the bytes."""
        return self.name, self.hash

    @property
    def shown(self) -> str:
        """Its name for a person, which the commands take as well."""
        return f"{self.name}/{self.number or self.hash[:8]}"


def of_record(name: str, path: str, record: Mapping[str, Any], said: Mapping[str, Any]) -> Version:
    """The version that a job made.

    Args:
        name: of the model.
        path: the output that it is.
        record: with its details.
        said: what the experiment says of the model, `description` and `licence`.
    """
    entry = record["outputs"][path]
    environment = dict(record.get("environment") or {})
    packages = environment.pop("distributions", None) or {}
    facts = {
        "code": record.get("code") or {},
        "environment": {name: value for name, value in environment.items() if value},
        "inputs": {file: each["hash"] for file, each in record["inputs"].items()},
        "job": record["job"],
        "made": record["ended"],
        "metrics": record["metrics"],
        "packages": packages,
        "params": record.get("params") or {},
        "path": path,
        "record": record["id"],
        "run": record["run"],
        "seed": record["seed"],
        "size": entry.get("size"),
        **{key: value for key, value in said.items() if value},
    }
    return Version(name, entry["hash"], facts, entry=entry)


def tags(version: Version) -> dict[str, str]:
    """What the registry keeps of a version."""
    found = {f"{PREFIX}hash": version.hash}
    for each in sorted({*TEXTS, *DATA} & {*version.facts}):
        value = version.facts[each]
        text = value if each in TEXTS else canonical(value)
        if len(text) <= MAX_VALUE:  # what is longer is in the run's record.json
            found[PREFIX + each] = text
    return found


def of_tags(
    name: str, number: int, aliases: Iterable[str], found: Mapping[str, str]
) -> Version | None:
    """A version as the registry has it; None where it is not one of ours."""
    digest = found.get(f"{PREFIX}hash", "")
    if not DIGEST.fullmatch(digest):  # a path may be made of it
        return None
    facts: dict[str, Any] = {}
    for each in (*TEXTS, *DATA):
        text = found.get(PREFIX + each)
        if text is None:
            continue
        try:
            facts[each] = text if each in TEXTS else json.loads(text)
        except ValueError:  # somebody has edited it there
            continue
    return Version(name, digest, facts, number, tuple(sorted(aliases)))


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Where the facts of two versions differ: field, or `field.name` -> both values."""
    found = {}
    for each in COMPARED:
        mine, theirs = one.get(each), other.get(each)
        if isinstance(mine, Mapping) or isinstance(theirs, Mapping):
            mine, theirs = mine or {}, theirs or {}
            for name in sorted({*mine, *theirs}):
                pair = mine.get(name), theirs.get(name)
                if pair[0] != pair[1]:
                    found[f"{each}.{name}"] = {"from": pair[0], "to": pair[1]}
        elif mine != theirs:
            found[each] = {"from": mine, "to": theirs}
    return found
