"""`ml-experiment models`: versions of models by name, alias, number or hash.

The registry is MLflow's. What it lacks is sent to it first, and where it does not answer the records
and `models.json` say what there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ml_experiment import (
    lineage,
    modelcard,
    modelfiles,
    modelrecords,
    promoted,
    records,
    registered,
    staleness,
    tracking,
    versions,
)
from ml_experiment.adapters import dvc
from ml_experiment.adapters.mlflow import RefusedError, TrackingError
from ml_experiment.errors import UserError, did_you_mean
from ml_experiment.modelfiles import Described
from ml_experiment.plan import Plan
from ml_experiment.services import modelbytes
from ml_experiment.services.track import Sender
from ml_experiment.versions import Measured, Version

ALIAS = re.compile(r"(?!v\d+$)[A-Za-z][\w-]{0,250}")
MEASURED = "measured"  # a fact that only models.json has: records of replicates may not travel


@dataclass
class Models:
    """The models of an experiment.

    Attributes:
        versions: by model, the oldest first.
        current: model -> the hash that its file had when its job last ended well.
        trouble: why the registry was not asked; empty where it was.
    """

    plan: Plan
    versions: dict[str, list[Version]]
    current: dict[str, str]
    trouble: str = ""
    sender: Sender | None = None


class Difference(NamedTuple):
    """How two versions differ.

    Attributes:
        same: whether their bytes are the same.
        facts: what was recorded: field -> {from, to}.
        files: format and size, as facts.
        parts: tensor, member or key -> how it differs; None where contents cannot be compared.
        remark: why not.
    """

    same: bool
    facts: dict[str, dict[str, Any]]
    files: dict[str, dict[str, Any]]
    parts: dict[str, str] | None
    remark: str


def load(plan: Plan) -> Models:
    """The versions of all models: of the registry, which gets what it lacks.

    Raises:
        UserError: a models.json that cannot be read.
    """
    known = {version.key: version for version in modelrecords.recorded(plan.folder, plan)}
    for version in promoted.read(plan.folder):
        own = known.get(version.key)
        facts = {**version.facts, **own.facts} if own else version.facts
        known[version.key] = replace(version, facts=facts)
    ordered = sorted(known.values(), key=lambda each: (str(each.facts.get("made")), each.name))
    names = [*plan.experiment.models, *(each.name for each in ordered)]
    made = Models(plan, {name: [] for name in names}, _current(plan))
    uri = tracking.uri(plan.folder)
    try:
        made.sender = Sender(plan.folder, uri, also=ordered)
        made.sender.send()
        _aliases(made.sender, ordered, own=uri == tracking.default_uri(plan.folder))
        registry = made.sender.registry()
        for name in made.versions:
            for there in registry.versions(name):
                before = known.get((name, there.hash))
                facts = {**there.facts, **before.facts} if before else there.facts
                made.versions[name].append(replace(there, facts=facts))
    except (TrackingError, RefusedError) as error:
        made.trouble = f"{tracking.shown(uri, plan.folder)}: {error}"
        made.sender = None
        made.versions = {name: [each for each in ordered if each.name == name] for name in names}
    return made


def _current(plan: Plan) -> dict[str, str]:
    finished = records.read(staleness.record_file(plan)).finished
    found = {}
    for name, each in registered.declared(plan).items():
        entry = finished.get(each.job.id, {}).get("outputs", {}).get(each.path) or {}
        if entry.get("hash"):
            found[name] = entry["hash"]
    return found


def _aliases(sender: Sender, known: Iterable[Version], *, own: bool) -> None:
    """Have the registry know the aliases of models.json; what a server says already counts there."""
    registry = sender.registry()
    for version in known:
        if not version.aliases:
            continue
        there = registry.versions(version.name)
        taken = {alias for each in there for alias in each.aliases}
        for each in there:
            if each.hash != version.hash or each.number is None:
                continue
            for alias in version.aliases:
                if alias not in each.aliases and (own or alias not in taken):
                    registry.alias(version.name, alias, each.number)


def find(models: Models, reference: str) -> Version:
    """The version that NAME, NAME@ALIAS, NAME/NUMBER or NAME/HASH means.

    A name alone means what its job made last.

    Raises:
        UserError: there is none.
    """
    found = re.fullmatch(r"([^@/]+)(?:@([^@/]+)|/([^@/]+))?", reference)
    name, alias, which = found.groups() if found else (reference, None, None)
    if name not in models.versions:
        declared = "the experiment names it under `models:`, and a run makes a version"
        hint = did_you_mean(name, models.versions) or declared
        raise UserError("no such model", value=reference, hint=hint)
    there = models.versions[name]
    if not there:
        path = registered.declared(models.plan)[name].path
        hint = f"`snakemake --cores 1 {path}` makes one, without --config"
        raise UserError("no version of this model yet", value=name, hint=hint)
    if alias is not None:
        chosen = [each for each in there if alias in each.aliases]
        known = sorted({own for each in there for own in each.aliases})
        hint = did_you_mean(alias, known) or f"`ml-experiment models promote {there[-1].shown}`"
    elif which is not None:
        chosen = [each for each in there if str(each.number) == which.removeprefix("v")]
        if not chosen and re.fullmatch(r"[0-9a-f]{4,}(\.dir)?", which):
            chosen = [each for each in there if each.hash.startswith(which)]
        shown = [f"{each.number or ''} ({each.hash[:8]})".strip() for each in there]
        hint = "there is: " + ", ".join(shown)
    else:
        hint = ""
        chosen = [each for each in there if each.hash == models.current.get(name)] or there[-1:]
    if len(chosen) != 1:
        what = "several versions begin so" if chosen else "no such version"
        raise UserError(what, value=reference, hint=hint)
    return chosen[0]


def described(plan: Plan, version: Version) -> tuple[str, Described | None]:
    """Where the bytes are on this machine, and what they are."""
    found = modelbytes.held(plan, version)
    if found is None:
        return "not on this machine", None
    where, files = found
    return where, modelfiles.described(files, str(version.facts.get("path")))


def measured(plan: Plan, version: Version) -> list[Measured]:
    """Its metrics over replicates; what models.json has of them where records do not."""
    found = modelrecords.measured(plan.folder, version)
    return found or [Measured(*row) for row in version.facts.get(MEASURED, ())]


def promote(models: Models, version: Version, alias: str) -> Version | None:
    """Have an alias mean a version, in the registry and in models.json.

    Returns:
        The version that it meant before; None where that was none, or the same.

    Raises:
        UserError: no good alias, or the registry does not answer or refuses it.
    """
    if not ALIAS.fullmatch(alias) or alias in versions.RESERVED:
        expected = "letters, digits, _ and -, beginning with a letter; not latest, not v1"
        raise UserError("not an alias", value=alias, expected=expected)
    if models.sender is None or version.number is None:
        hint = "promote it when it answers"
        raise UserError("the registry does not answer", value=models.trouble, hint=hint)
    try:
        models.sender.registry().alias(version.name, alias, version.number)
    except (TrackingError, RefusedError) as error:
        raise UserError(f"the registry refuses it: {error}", value=alias) from None
    rows = [list(row) for row in measured(models.plan, version)]
    facts = {**version.facts, MEASURED: rows} if rows else version.facts
    promoted.promote(models.plan.folder, replace(version, facts=facts), alias)
    there = models.versions[version.name]
    return next((v for v in there if alias in v.aliases and v.hash != version.hash), None)


def diff(plan: Plan, one: Version, other: Version) -> Difference:
    """How two versions differ: records first, then contents where that is safe."""
    facts = versions.differences(one.facts, other.facts)
    if one.hash == other.hash:
        return Difference(same=True, facts=facts, files={}, parts={}, remark="")
    for version in (one, other):
        if modelbytes.held(plan, version) is None and dvc.is_repository(plan.folder):
            with suppress(UserError):  # said below
                dvc.fetch_object(plan.folder, version.hash, None)
    (_, mine), (_, theirs) = described(plan, one), described(plan, other)
    files = {}
    if one.facts.get("size") != other.facts.get("size"):
        files["size"] = {"from": one.facts.get("size"), "to": other.facts.get("size")}
    if mine is None or theirs is None:
        lacking = " and ".join(v.shown for v, d in ((one, mine), (other, theirs)) if d is None)
        return _differ(facts, files, None, f"the bytes of {lacking} are not to be had")
    if mine.format != theirs.format:
        files["format"] = {"from": mine.format, "to": theirs.format}
        return _differ(facts, files, None, "the formats differ")
    if not mine.parts or not theirs.parts:
        remark = f"what is in a file of the format {mine.format} is not compared without loading it"
        return _differ(facts, files, None, remark)
    return _differ(facts, files, modelfiles.part_differences(mine, theirs), "")


def _differ(
    facts: dict[str, dict[str, Any]],
    files: dict[str, dict[str, Any]],
    parts: dict[str, str] | None,
    remark: str,
) -> Difference:
    return Difference(same=False, facts=facts, files=files, parts=parts, remark=remark)


def card(plan: Plan, version: Version) -> str:
    """The model card of a version."""
    _, found = described(plan, version)
    more = {"format": found.format, "framework": found.framework} if found else {}
    facts = {**version.facts, **{key: value for key, value in more.items() if value}}
    whole = replace(version, facts=facts)
    return modelcard.card(whole, plan.experiment.name, measured(plan, version), raw(plan, version))


def raw(plan: Plan, version: Version) -> dict[str, str]:
    """Path -> hash of the raw data that a version was made from, by the records."""
    every = (line for file in records.files(plan.folder) for line in records.lines(file))
    known = lineage.index(line for line in every if "id" in line)
    path = str(version.facts.get("path"))
    if path not in known.made:
        return {}
    graph = lineage.ancestry(known, path, version.hash, None)
    return {
        file.path: file.hash or "not known"
        for node in graph.jobs.values()
        for file in node.inputs
        if lineage.RAW in file.notes
    }
