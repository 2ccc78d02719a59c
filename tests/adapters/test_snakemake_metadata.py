"""What Snakemake's own file about an output says of the image that a job ran in."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from pathlib import Path

import pytest

from ml_experiment.adapters import snakemake_metadata

IMAGE = "docker://python:3.11-slim"
MODULES = hashlib.md5(b"R/4.3").hexdigest()  # as Snakemake has them in its hash


def written(folder: Path, software: str) -> None:
    """What Snakemake writes of a job of a rule with `container:`."""
    place = folder / ".snakemake/metadata"
    place.mkdir(parents=True)
    data = {
        "rule": "a",
        "container_img_url": IMAGE,
        "software_stack_hash": hashlib.md5(software.encode()).hexdigest(),
    }
    (place / base64.urlsafe_b64encode(b"a.txt").decode()).write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("software", "words", "image"),
    [
        ("", "", None),
        ("", "--sdm conda --apptainer-args=--nv", None),
        (IMAGE, "", IMAGE),  # a program that calls Snakemake's functions has other arguments
        (MODULES, "--sdm env-modules", None),
        (IMAGE + MODULES, "--sdm apptainer env-modules", IMAGE),
    ],
)
def test_an_image_is_told_where_the_job_ran_in_it(
    software: str, words: str, image: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["snakemake", *words.split()])
    monkeypatch.delenv("SNAKEMAKE_PROFILE", raising=False)
    written(tmp_path, software)
    found = snakemake_metadata.reader(tmp_path)("a.txt")
    assert (found["rule"], found.get("container_img_url")) == ("a", image)
    assert snakemake_metadata.reader(tmp_path)("b.txt") == {}
