"""Distributions of Python for tests, in a folder that pip is sent to: no index is asked."""

from __future__ import annotations

import ensurepip
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

PLACES = (Path(ensurepip.__file__).parent / "_bundled", Path("/usr/share/python-wheels"))


def folder(place: Path, **versions: str) -> Path:
    """A folder with wheels of these distributions, each one module, and of pip."""
    place.mkdir(parents=True, exist_ok=True)
    for name, version in versions.items():
        _wheel(place, name, version)
    for each in PLACES:
        for wheel in each.glob("pip-*.whl"):
            shutil.copy(wheel, place)
    return place


def _wheel(place: Path, name: str, version: str) -> None:
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    listing = "".join(f"{path},,\n" for path in files)
    with zipfile.ZipFile(place / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in {**files, f"{info}/RECORD": f"{listing}{info}/RECORD,,\n"}.items():
            wheel.writestr(zipfile.ZipInfo(path), text)


def settings(place: Path) -> Mapping[str, str]:
    """The variables that send pip there, and nowhere else."""
    return {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(place)}
