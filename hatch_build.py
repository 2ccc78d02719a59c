"""Adds the project template to the wheel: what `ml-experiment init` copies is this repository's own.

A hook, because `force-include` also copies into editable installs, where the originals are used.
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TEMPLATE = ("Snakefile", "experiment.yaml", "workflow", "envs", "profiles", "schemas")


class Template(BuildHookInterface):  # type: ignore[type-arg]
    """Hatchling's hook for each build of a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the files; a missing one stops the build."""
        if version != "editable":
            build_data["force_include"].update(
                {name: f"ml_experiment/template/{name}" for name in TEMPLATE}
            )
