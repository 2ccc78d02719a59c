"""What an environment's folder pins, against the distributions that ran."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from ml_experiment import requirements, yamlio


def locked(folder: Path) -> dict[str, str]:
    """Name -> version of every distribution that a folder of `envs/` pins with `==`.

    Read are requirements*.txt, *.lock in that form, and environment.yml of conda, where one `=` is
    enough: its version has `.*` at the end then.

    Raises:
        ExperimentError: an environment.yml that is no YAML.
    """
    found: dict[str, str] = {}
    for file in sorted([*folder.glob("requirements*.txt"), *folder.glob("*.lock")]):
        found.update(_pins(requirements.joined(file)))
    for file in sorted([*folder.glob("environment.yml"), *folder.glob("environment.yaml")]):
        data = yamlio.read(file.read_text("utf-8", "replace"), str(file)).plain()
        found.update(_conda(data.get("dependencies") or () if isinstance(data, dict) else ()))
    return found


def of_file(file: Path) -> dict[str, str]:
    """Name -> version of what a file of requirements pins, and those that it names.

    Raises:
        UserError: it names a file elsewhere.
    """
    return dict(_pins(requirements.listed(file).asked))


def differences(locked: Mapping[str, str], ran: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Those that ran in another version than the pinned one."""
    return {
        name: {"locked": locked[known], "ran": version}
        for name, version in sorted(ran.items())
        if (known := normal(name)) in locked and not _same(locked[known], version)
    }


def told(differs: Mapping[str, Mapping[str, str]], few: int = 4) -> str:
    """Differences, for a line of text."""
    shown = [f"{name} {each['ran']}, not {each['locked']}" for name, each in differs.items()]
    return "; ".join(shown[:few]) + (f"; and {len(shown) - few} more" if len(shown) > few else "")


def is_hashed(file: Path) -> bool:
    """Whether every requirement in a file, and in those that it names, is pinned with a hash."""
    lines = [line for line in requirements.listed(file).asked if _requirement(line) is not None]
    return bool(lines) and all(" --hash" in line for line in lines)


def unmet(listed: Path, pinned: Path) -> list[str]:
    """What a list asks for and the pins made of it do not have."""
    pins, found, told = of_file(pinned), [], requirements.listed(listed)
    for line in [*told.asked, *told.limits]:
        asked = _requirement(line)
        if asked is None or (asked.marker is not None and not asked.marker.evaluate()):
            continue
        version = pins.get(normal(asked.name))
        if version is None:
            found += [f"{asked.name} is not in it"] if line in told.asked else []
        elif not asked.specifier.contains(version, prereleases=True):
            found.append(f"it has {asked.name} {version}, not {asked.specifier}")
    return found


def _requirement(line: str) -> Requirement | None:
    """The requirement that a line is, if it is one."""
    text = line.partition(" --hash")[0].partition(" #")[0].strip()
    if not text or text.startswith(("#", "-")):
        return None
    try:
        return Requirement(text)
    except InvalidRequirement:
        return None


def _pins(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        requirement = _requirement(line)
        if requirement is None:
            continue
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        for specifier in requirement.specifier:
            if specifier.operator == "==" and not specifier.version.endswith("*"):
                yield normal(requirement.name), specifier.version


def _conda(dependencies: Any) -> Iterator[tuple[str, str]]:
    """One `=` is any release of a version, as `1.26.*` here, unless a build follows."""
    for entry in dependencies:
        if isinstance(entry, dict):
            yield from _pins([str(line) for line in entry.get("pip") or ()])
        elif isinstance(entry, str) and (found := _CONDA.fullmatch(entry.rpartition("::")[2])):
            name, equals, version, build = found.groups()
            bare = version.rstrip("*").rstrip(".")
            loose = bare != version or (equals == "=" and not build)
            if bare:
                yield normal(name), f"{bare}.*" if loose else bare


_CONDA = re.compile(r"\s*([\w.-]+)\s*(==?)\s*([^\s=,|<>!~]+)(=\S+)?\s*")


def normal(name: str) -> str:
    """The one spelling of a distribution's name."""
    return canonicalize_name(name.strip())


def _same(pinned: str, ran: str) -> bool:
    """Whether a version is the pinned one, or of those that a pin like `1.26.*` means."""
    loose = pinned.endswith(".*")
    try:
        if loose:
            return SpecifierSet(f"=={pinned}").contains(ran, prereleases=True)
        return Version(pinned) == Version(ran)
    except (InvalidSpecifier, InvalidVersion):
        return f"{ran}.".startswith(pinned[:-1]) if loose else pinned == ran
