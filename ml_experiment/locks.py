"""What an environment's folder pins, against the distributions that ran."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from ml_experiment import yamlio


def locked(folder: Path) -> dict[str, str]:
    """Name -> version of every distribution that a folder of `envs/` pins with `==`.

    Read are requirements*.txt, *.lock in that form, and environment.yml of conda.

    Raises:
        ExperimentError: an environment.yml that is no YAML.
    """
    found: dict[str, str] = {}
    for file in sorted([*folder.glob("requirements*.txt"), *folder.glob("*.lock")]):
        text = file.read_text("utf-8", "replace").replace("\\\n", " ")
        found.update(_pins(text.splitlines()))
    for file in sorted([*folder.glob("environment.yml"), *folder.glob("environment.yaml")]):
        data = yamlio.read(file.read_text("utf-8", "replace"), str(file)).plain()
        found.update(_conda(data.get("dependencies") or () if isinstance(data, dict) else ()))
    return found


def differences(locked: Mapping[str, str], ran: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Those that ran in another version than the pinned one."""
    return {
        name: {"locked": locked[normal], "ran": version}
        for name, version in sorted(ran.items())
        if (normal := _normal(name)) in locked and not _same(locked[normal], version)
    }


def _pins(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        text = line.partition(" --hash")[0].partition(" #")[0].strip()
        if not text or text.startswith(("#", "-")):
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        for specifier in requirement.specifier:
            if specifier.operator == "==" and not specifier.version.endswith("*"):
                yield _normal(requirement.name), specifier.version


def _conda(dependencies: Any) -> Iterator[tuple[str, str]]:
    for entry in dependencies:
        if isinstance(entry, dict):
            yield from _pins([str(line) for line in entry.get("pip") or ()])
        elif isinstance(entry, str):
            name, _, version = entry.rpartition("::")[2].replace("==", "=").partition("=")
            if version.partition("=")[0]:
                yield _normal(name), version.partition("=")[0]


def _normal(name: str) -> str:
    return canonicalize_name(name.strip())


def _same(one: str, other: str) -> bool:
    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return one == other
