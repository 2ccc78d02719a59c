"""ML_EXPERIMENT_BOOT: what the launch prefix tells a job, checked and typed."""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False  # importing `typing` would cost more than all of this package
if TYPE_CHECKING:
    from typing import Any

VARIABLE = "ML_EXPERIMENT_BOOT"
SEEDINGS = ("full", "variables", "none")
_NUMBER = (int,)
_KEYS: dict[str, tuple[tuple[type, ...], str]] = {
    "root": (_NUMBER, "an integer"),
    "stream": ((str,), "a string"),
    "replicate": ((int, type(None)), "an integer or null"),
    "seeding": ((str,), "one of " + ", ".join(SEEDINGS)),
    "report": ((str, type(None)), "a path or null"),
    "threads": ((int, type(None)), "an integer or null"),
}


class SettingsError(ValueError):
    """ML_EXPERIMENT_BOOT cannot be used; the message is a clause that says why."""


class Settings:
    """The parts of ML_EXPERIMENT_BOOT.

    Attributes:
        root: the experiment's seed.
        stream: `seed_as` or the step's name.
        replicate: its number, or None.
        seeding: `full`, `variables` (only the environment's) or `none`.
        report: absolute path of the report file, or None for no report.
        threads: as many as the step declared, or None.
        resumed: whether the job found a checkpoint of an earlier attempt.
        main: process id of the job's first booted process, None in that process itself.
    """

    __slots__ = ("main", "replicate", "report", "resumed", "root", "seeding", "stream", "threads")

    def __init__(self, values: dict[str, Any]) -> None:
        self.root: int = values["root"]
        self.stream: str = values["stream"]
        self.replicate: int | None = values["replicate"]
        self.seeding: str = values["seeding"]
        self.report: str | None = values["report"]
        self.threads: int | None = values["threads"]
        self.resumed: bool = values.get("resumed") is True
        self.main: int | None = values.get("main")

    def exported(self, main: int) -> str:
        """The same settings for child processes, as canonical JSON."""
        values = {key: getattr(self, key) for key in _KEYS}
        values["main"] = main
        if self.resumed:
            values["resumed"] = True
        return json.dumps(values, sort_keys=True, separators=(",", ":"))


def parse(text: str, directory: str) -> Settings:
    """Settings from JSON text; a relative report path is one below `directory`.

    Raises:
        SettingsError: the text is no JSON object with the keys and types above.
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise SettingsError("it is not JSON: %s" % error) from None
    if not isinstance(values, dict):
        raise SettingsError("it is not a JSON object")
    for key, (types, expected) in _KEYS.items():
        if key not in values:
            raise SettingsError("the key %r is missing" % key)
        value = values[key]
        if not isinstance(value, types) or isinstance(value, bool):
            raise SettingsError("the value of %r is %r, not %s" % (key, value, expected))
    if values["seeding"] not in SEEDINGS:
        expected = _KEYS["seeding"][1]
        raise SettingsError("the value of 'seeding' is %r, not %s" % (values["seeding"], expected))
    if values["report"]:
        values["report"] = os.path.join(directory, values["report"])
    return Settings(values)
