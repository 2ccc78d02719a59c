"""What a folder of envs/ declares, and what its image.lock says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ml_experiment import environments
from ml_experiment.environments import Lock
from ml_experiment.errors import MLExperimentError

RENV = '{"R": {"Version": "4.4.1"}, "Packages": {}}'


def folder(workspace: Path, **files: str) -> Path:
    """An environment `x`; `image_yaml=` is image.yaml."""
    made = workspace / "envs" / "x"
    made.mkdir(parents=True)
    for name, text in files.items():
        (made / name.replace("_", ".")).write_text(text, "utf-8")
    return made


@pytest.mark.parametrize(
    ("files", "kind", "bases"),
    [
        ({"Dockerfile": "FROM a:1\nFROM b\n"}, "dockerfile", ["a:1", "b"]),
        ({"Dockerfile": "FROM a:1\n", "requirements_txt": ""}, "dockerfile", ["a:1"]),
        ({"requirements_txt": "six\n", "image_yaml": "base: deb:1\n"}, "python", ["deb:1"]),
        ({"renv_lock": RENV}, "r", ["rocker/r-ver:4.4.1"]),
        ({"environment_yml": "dependencies: []\n"}, "conda", [environments.CONDA]),
        ({"image_yaml": "image: pytorch/pytorch:2\nplatform: linux/amd64\n"}, "image", ["pytorch/pytorch:2"]),
    ],
)  # fmt: skip
def test_what_a_folder_is_made_from(
    files: dict[str, str], kind: str, bases: list[str], tmp_path: Path
) -> None:
    folder(tmp_path, **files)
    found = environments.declared(tmp_path, "x")
    assert (found.kind, found.bases()) == (kind, bases)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, ["nothing to make an image from", "envs/x"]),
        ({"requirements_txt": "", "renv_lock": RENV}, ["several lists of packages"]),
        ({"requirements_txt": "", "image_yaml": "bse: a\nbase: 3\n"}, ["did you mean base?", "image.yaml:1", "image.yaml:2"]),
        ({"image_yaml": "base: a\nimage: b\n"}, ["remove one of them"]),
        ({"image_yaml": "[a]\n"}, ["not a mapping"]),
        ({"Dockerfile": "FROM a\n", "image_yaml": "base: b\n"}, ["the Dockerfile says"]),
    ],
)  # fmt: skip
def test_a_folder_that_declares_no_image(
    files: dict[str, str], told: list[str], tmp_path: Path
) -> None:
    folder(tmp_path, **files)
    with pytest.raises(MLExperimentError) as raised:
        environments.declared(tmp_path, "x")
    assert all(text in str(raised.value) for text in told), str(raised.value)


def test_an_unknown_environment_names_the_nearest(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "envs/sklearn").mkdir()
    with pytest.raises(MLExperimentError, match="did you mean sklearn"):
        environments.declared(tmp_path, "sklern")


def test_a_lock_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = folder(tmp_path, requirements_txt="six\n", image_yaml="base: a\n")
    sources = environments.declared(tmp_path, "x").sources()
    lock = Lock(
        {"a": "sha256:1"}, "linux/amd64", sources, "sha256:2", "n:1", None, {"python": {"six": "1"}}
    )
    assert environments.write(tmp_path, "x", lock)
    assert environments.read(tmp_path, "x") == lock
    assert not environments.write(tmp_path, "x", lock), "it is rewritten although nothing changed"
    assert environments.why_not(tmp_path, "x") is None
    (made / "notes.md").write_text("no part of the image")
    assert environments.why_not(tmp_path, "x") is None
    (made / "requirements.txt").write_text("six==1\n")
    (made / "requirements.lock").write_text("")
    what, hint = environments.why_not(tmp_path, "x") or ("", "")
    assert what.startswith("requirements.lock, requirements.txt changed")
    assert hint == "`ml-experiment env build x`"


def test_a_lock_without_an_image_is_not_ready(tmp_path: Path) -> None:
    folder(tmp_path, image_yaml="image: a\n")
    assert environments.why_not(tmp_path, "x") is not None
    environments.write(tmp_path, "x", Lock({}, "linux/amd64", {}))
    assert environments.why_not(tmp_path, "x") is not None


EDITED = '{"base": null, "platform": "linux/amd64", "sources": null}'


@pytest.mark.parametrize("text", ["{", "[]", '{"what": 1}', EDITED])
def test_something_else_is_no_lock(text: str, tmp_path: Path) -> None:
    folder(tmp_path, image_lock=text)
    with pytest.raises(MLExperimentError, match=r"not an image\.lock"):
        environments.read(tmp_path, "x")


def test_every_file_of_a_dockerfiles_folder_counts(tmp_path: Path) -> None:
    made = folder(tmp_path, Dockerfile="FROM a\n", image_lock="{}")
    (made / "more").mkdir()
    (made / "more/setup.sh").write_text("true\n")
    assert set(environments.declared(tmp_path, "x").sources()) == {"Dockerfile", "more/setup.sh"}


def test_what_a_list_names_counts_too(tmp_path: Path) -> None:
    made = folder(tmp_path, requirements_txt="-r base.txt\n-c limits.txt\n", image_yaml="base: a\n")
    for name in ("base", "limits"):
        (made / f"{name}.txt").write_text("six\n")
    sources = environments.declared(tmp_path, "x").sources()
    environments.write(tmp_path, "x", Lock({"a": "sha256:1"}, "linux/amd64", sources, "sha256:2"))
    assert environments.why_not(tmp_path, "x") is None
    for name in ("base", "limits"):
        (made / f"{name}.txt").write_text("six<2\n")
    what, _ = environments.why_not(tmp_path, "x") or ("", "")
    assert what.startswith("base.txt, limits.txt changed")
    (made / "requirements.txt").write_text("-r ../base.txt\n")
    with pytest.raises(MLExperimentError, match=r"-r \.\./base\.txt is outside of envs/x"):
        environments.why_not(tmp_path, "x")


def test_pins_are_sorted_and_have_hashes() -> None:
    def report(name: str, version: str, **info: object) -> dict[str, object]:
        return {
            "install": [{"metadata": {"name": name, "version": version}, "download_info": info}]
        }

    archive = {"hashes": {"sha256": "ab"}}
    one, other = (
        report("Zope_x", "1", archive_info=archive),
        report("six", "2", archive_info=archive),
    )
    lines = environments.pins_text([one, other]).splitlines()[1:]
    assert lines == ["six==2 \\", "    --hash=sha256:ab", "zope-x==1 \\", "    --hash=sha256:ab"]
    with pytest.raises(MLExperimentError, match="zope-x is not an archive"):
        environments.pins_text([report("zope.x", "1", vcs_info={})])


def test_platforms_are_those_that_a_c_library_runs() -> None:
    found = environments.platforms("x86_64", "glibc", "2.36")
    assert found[:2] == ["manylinux_2_36_x86_64", "manylinux_2_35_x86_64"]
    assert {"manylinux_2_17_x86_64", "manylinux2014_x86_64", "linux_x86_64"} <= set(found)
    assert "manylinux1_aarch64" not in environments.platforms("aarch64", "glibc", "2.36")
    assert environments.platforms("x86_64", "musl", "1.2")[0] == "musllinux_1_2_x86_64"


def test_replacing_nothing_changes_nothing() -> None:
    lock = Lock({"a": "b"}, "linux/amd64", {"f": "1"})
    assert replace(lock).text() == lock.text()
    assert lock.text().endswith("}\n")


def test_what_is_for_the_host_alone_is_nothing_to_an_image(tmp_path: Path) -> None:
    made = folder(tmp_path, requirements_txt="six\n")
    without = environments.declared(tmp_path, "x").sources()
    assert environments.host(tmp_path, "x") == "current"
    (made / "image.yaml").write_text("host: venv\n")
    assert environments.declared(tmp_path, "x").sources() == without
    assert environments.host(tmp_path, "x") == "venv"
    (made / "image.yaml").write_text("host: venv\nbase: a\n")
    assert environments.declared(tmp_path, "x").sources() != without
    (made / "image.yaml").write_text("host: conda\n")
    with pytest.raises(MLExperimentError, match="no such way to run"):
        environments.host(tmp_path, "x")
