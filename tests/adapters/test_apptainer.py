"""Which archive Apptainer's file of an image is made from; a stand-in writes what it was asked for."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from ml_experiment.adapters import apptainer
from ml_experiment.errors import UserError

STAND_IN = """\
#!/bin/sh
[ "$1" = pull ] || exit 9
echo "$5" > "$4"
"""
CONFIG = b'{"os": "linux"}'
MANIFEST = json.dumps(
    {"config": {"digest": f"sha256:{hashlib.sha256(CONFIG).hexdigest()}"}}
).encode()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def files(form: str) -> dict[str, bytes]:
    """What is in an archive of the image with CONFIG."""
    blob, name = f"blobs/sha256/{sha256(CONFIG)}", f"{sha256(CONFIG)}.json"
    if form == "old":
        return {name: CONFIG, "manifest.json": json.dumps([{"Config": name}]).encode()}
    inner = f"blobs/sha256/{sha256(MANIFEST)}"
    listed = {"manifests": [{"digest": f"sha256:{sha256(MANIFEST)}"}]}
    both = {blob: CONFIG, inner: MANIFEST, "index.json": json.dumps(listed).encode()}
    if form == "new":
        return {**both, "manifest.json": json.dumps([{"Config": blob}]).encode()}
    assert (
        form == "nested"
    )  # an index of an index, and an image of another platform that is not there
    index = json.dumps(listed).encode()
    outer = {"manifests": [{"digest": "sha256:0"}, {"digest": f"sha256:{sha256(index)}"}]}
    return {
        **both,
        f"blobs/sha256/{sha256(index)}": index,
        "index.json": json.dumps(outer).encode(),
    }


def make(folder: Path, image: str, held: dict[str, bytes] | None) -> str:
    """Have the file of an image made from an archive. Returns the source that Apptainer was given."""
    stem = folder / f"{apptainer.FOLDER}/x-{image[7:19]}"
    stem.parent.mkdir(parents=True)
    archive = stem.with_name(f"{stem.name}.tar")
    if held is None:
        archive.write_text("no archive")
    else:
        with tarfile.open(archive, "w") as tar:
            for name, content in held.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    apptainer._make(folder, "x", image)
    return stem.with_name(f"{stem.name}.sif").read_text().strip()


@pytest.fixture(autouse=True)
def stand_in(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path_factory.mktemp("bin") / "apptainer"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize("form", ["old", "new", "nested"])
def test_an_archive_of_the_image_is_taken(form: str, tmp_path: Path) -> None:
    image = f"sha256:{sha256(CONFIG)}"
    made = make(tmp_path, image, files(form))
    kind = "oci-archive" if form == "nested" else "docker-archive"
    assert made == f"{kind}:{tmp_path}/{apptainer.FOLDER}/x-{image[7:19]}.tar"


def test_an_image_may_be_known_by_its_manifest(tmp_path: Path) -> None:
    assert make(tmp_path, f"sha256:{sha256(MANIFEST)}", files("new"))


@pytest.mark.parametrize("form", ["old", "new", "nested"])
def test_an_archive_of_another_image_is_refused(form: str, tmp_path: Path) -> None:
    other = "sha256:" + "1" * 64
    with pytest.raises(UserError, match="of another image than the locked one") as raised:
        make(tmp_path, other, files(form))
    told = str(raised.value)
    assert f"sha256:{sha256(CONFIG)}" in told
    assert other in told
    assert ".ml_experiment/images/x-111111111111.tar" in told
    assert not list(tmp_path.rglob("*.sif*"))


@pytest.mark.parametrize(
    "held", [None, {"manifest.json": b'[{"Config": "x"}]'}, {"index.json": b"[]"}]
)
def test_what_is_no_archive_is_said(held: dict[str, bytes] | None, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not the archive of an image"):
        make(tmp_path, "sha256:" + "1" * 64, held)
