"""Real processes, started as the launch prefix starts a job."""

from __future__ import annotations

import glob
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

BOOT = Path(__file__).resolve().parents[2] / "ml_experiment" / "boot"
# By its file, for the boot folder is no place to import from.
_SPEC = importlib.util.spec_from_file_location(
    "boot_seeds", BOOT / "_ml_experiment_boot" / "seeds.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
_SEEDS = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_SEEDS)
derive: Callable[[int, str, int | None, str], int] = _SEEDS.derive

VARIABLES = ("PYTHONPATH", "ML_EXPERIMENT_BOOT", "PYTHONHASHSEED", "PYTHONSAFEPATH")


def interpreters() -> list[str]:
    """One Python of each version from 3.8 on, from PATH and from pyenv."""
    names = [f"python3.{minor}" for minor in range(8, 16)]
    paths = [path for path in map(shutil.which, names) if path]
    paths += glob.glob(os.path.expanduser("~/.pyenv/versions/3.*/bin/python"))
    found: dict[tuple[int, ...], str] = {}
    for path in paths:
        probe = [path, "-S", "-c", "import sys; print(*sys.version_info[:2])"]
        done = subprocess.run(probe, capture_output=True, text=True, check=False)
        version = tuple(map(int, done.stdout.split()))
        if done.returncode == 0 and version >= (3, 8):
            found.setdefault(version, path)
    return [found[version] for version in sorted(found)]


class Done:
    """How a job ended, and the lines that it added to the report."""

    def __init__(self, done: subprocess.CompletedProcess[str], lines: list[dict[str, Any]]) -> None:
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr
        self.lines = lines

    @property
    def main(self) -> dict[str, Any]:
        """The line of the only main process."""
        (line,) = (each for each in self.lines if each["process"]["role"] == "main")
        return line

    @property
    def children(self) -> list[dict[str, Any]]:
        return [each for each in self.lines if each["process"]["role"] == "child"]

    def generator(self, name: str) -> dict[str, Any]:
        rows: list[dict[str, Any]] = self.main["generators"]
        (row,) = (each for each in rows if each["name"] == name)
        return row


class Job:
    """A folder in which scripts are run with the boot folder on PYTHONPATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.report = folder / "reports" / "boot" / "step.jsonl"

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def environ(self, path: str = "", raw: str | None = None, **settings: object) -> dict[str, str]:
        values = {
            "replicate": 0,
            "report": "reports/boot/step.jsonl",
            "root": 20261123,
            "seeding": "full",
            "stream": "fit",
            "threads": 1,
            **settings,
        }
        text = json.dumps(values, sort_keys=True, separators=(",", ":")) if raw is None else raw
        kept = {key: value for key, value in os.environ.items() if key not in VARIABLES}
        paths = [str(BOOT), path] if path else [str(BOOT)]
        return {**kept, "PYTHONPATH": os.pathsep.join(paths), "ML_EXPERIMENT_BOOT": text}

    def run(
        self,
        *arguments: str,
        python: str = sys.executable,
        environ: dict[str, str] | None = None,
        **settings: Any,
    ) -> Done:
        """Run Python with these arguments; the report starts empty."""
        if self.report.exists():
            self.report.unlink()
        done = subprocess.run(
            [python, *arguments],
            cwd=self.folder,
            env=self.environ(**settings) if environ is None else environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        text = self.report.read_text(encoding="utf-8") if self.report.exists() else ""
        return Done(done, [json.loads(line) for line in text.splitlines()])

    def script(self, text: str, **options: Any) -> Done:
        """Run a script of this text."""
        self.write("script.py", text)
        return self.run("script.py", **options)
