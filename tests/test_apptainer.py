"""Apptainer's words as Docker's: what means the same, and what is refused by its name."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from ml_experiment import apptainer
from ml_experiment.apptainer import Caller
from ml_experiment.errors import UserError

ME = Caller("/w", "/home/me", 7, 8, (8, 9), 0o022, 64)
SNAKEMAKES = ["exec", "--home", "/w", "x.simg", "bash", "-c", "true"]


def docker(*words: str, **environ: str) -> apptainer.Run:
    return of(ME, *words, **environ)


def of(caller: Caller, *words: str, **environ: str) -> apptainer.Run:
    told = apptainer.asked([*words], environ)
    return apptainer.run(told, "sha256:1", {"KEPT"}, caller, environ)


def values(run: apptainer.Run, option: str) -> list[str]:
    return [value for name, value in itertools.pairwise(run.words) if name == option]


def mounts(run: apptainer.Run) -> dict[str, str]:
    found = {}
    for mount in values(run, "--mount"):
        kind, source, target, *more = mount.split(",")
        assert kind == "type=bind"
        found[target.removeprefix("target=")] = ",".join([source.removeprefix("source="), *more])
    return found


def test_what_snakemake_asks_for_is_a_container_as_apptainer_has_it() -> None:
    run = docker(*SNAKEMAKES)
    assert run.words[-5:] == ["--entrypoint", "bash", "sha256:1", "-c", "true"]
    assert (values(run, "--user"), values(run, "--group-add")) == (["7:8"], ["9"])
    assert (values(run, "--workdir"), values(run, "--network")) == (["/w"], ["host"])
    assert mounts(run) == {"/tmp": "/tmp", "/var/tmp": "/var/tmp", "/w": "/w"}
    assert "--read-only" in run.words
    own = docker("exec", "x.simg", "true")
    assert mounts(own)["/home/me"] == "/home/me"


def test_what_snakemake_asks_with_conda_in_a_container_is_understood() -> None:
    """Variables before the program, and options before its command."""
    run = docker("--quiet", "--silent", *SNAKEMAKES, SINGULARITYENV_CONDA_PKGS_DIRS="/w/pkgs")
    assert run.words[-5:] == docker(*SNAKEMAKES).words[-5:]
    assert run.environ["CONDA_PKGS_DIRS"] == "/w/pkgs"


def test_binds_are_mounts() -> None:
    given = ("exec", "--bind", "/a,/b:/c", "-B", "in:/d:ro", "--bind=/a:/w/", *SNAKEMAKES[1:])
    run = docker(*given, APPTAINER_BIND="/e")
    assert mounts(run) == {
        "/tmp": "/tmp",
        "/var/tmp": "/var/tmp",
        "/w": "/a",
        "/a": "/a",
        "/c": "/b",
        "/d": "/w/in,readonly",
        "/e": "/e",
    }
    assert mounts(docker(*SNAKEMAKES, SINGULARITY_BINDPATH="/f:/g"))["/g"] == "/f"
    other = docker("exec", "--mount", "type=bind,src=/a,dst=/b,ro", *SNAKEMAKES[1:])
    assert "type=bind,src=/a,dst=/b,readonly" in values(other, "--mount")
    comma = of(replace(ME, cwd="/x,y"), *SNAKEMAKES)
    assert 'type=bind,"source=/x,y","target=/x,y"' in values(comma, "--mount")


def test_variables_go_in_by_name_and_the_image_keeps_its_own() -> None:
    environ = {"A": "1", "KEPT": "2", "PATH": "/bin", "LD_PRELOAD": "x", "BASH_FUNC_f%%": "()"}
    ours = {"ML_EXPERIMENT_RUN": "3", "APPTAINERENV_B": "4", "SINGULARITYENV_PATH": "/image"}
    run = docker(*SNAKEMAKES, **environ, **ours)
    inside = ["A", "APPTAINER_CONTAINER", "B", "HOME=/w", "PATH=/image", "SINGULARITY_CONTAINER"]
    assert values(run, "--env") == [*inside, "TINI_KILL_PROCESS_GROUP"]
    assert (run.environ["A"], run.environ["B"], run.environ["PATH"]) == ("1", "4", "/bin")
    assert run.environ["APPTAINER_CONTAINER"] == "x.simg"
    clean = docker("exec", "-e", "--env", "C=5,D=6", *SNAKEMAKES[1:], **environ, **ours)
    assert set(values(clean, "--env")) - set(inside) == {"C", "D", "TINI_KILL_PROCESS_GROUP"}
    assert "A" not in values(clean, "--env")


def test_what_isolates_isolates() -> None:
    run = docker("exec", "--containall", "--net", "--writable-tmpfs", *SNAKEMAKES[1:], A="1")
    assert mounts(run) == {"/w": "/w"}
    assert values(run, "--network") == ["none"]
    assert "A" not in values(run, "--env")
    assert "--read-only" not in run.words
    assert len(values(run, "--tmpfs")) == 2
    bare = docker("exec", "--no-home", "--no-mount", "tmp,cwd", *SNAKEMAKES[1:])
    assert mounts(bare) == {}
    assert "--gpus" in docker("exec", "--nv", *SNAKEMAKES[1:]).words
    assert "--gpus" in docker(*SNAKEMAKES, SINGULARITY_NV="1").words
    assert "--gpus" not in docker(*SNAKEMAKES, APPTAINER_NV="0").words


def test_files_are_made_with_the_callers_mask() -> None:
    run = of(replace(ME, umask=0o002), *SNAKEMAKES)
    line = 'umask 0002 && exec "$@"'
    assert run.words[-8:] == ["sh", "sha256:1", "-c", line, "sh", "bash", "-c", "true"]


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["exec", "--overlay", "x", "i", "true"], "--overlay"),
        (["exec", "--fakeroot", "i", "true"], "--fakeroot"),
        (["exec", "--network", "bridge", "i", "true"], "bridge"),
        (["exec", "--bind", "/a:/b:slave", "i", "true"], "/a:/b:slave"),
        (["exec", "--no-mount", "proc", "i", "true"], "--no-mount proc"),
        (["exec", "--env", "x", "i", "true"], "--env x"),
        (["exec", "--mount", "type=tmpfs,dst=/x", "i", "true"], "type=tmpfs,dst=/x"),
        (["exec", "--bind"], "--bind"),
        (["shell", "i"], "shell"),
    ],
)
def test_what_docker_cannot_do_is_refused_by_its_name(words: list[str], value: str) -> None:
    with pytest.raises(UserError) as error:
        docker(*words)
    assert error.value.problem.value == value


@pytest.mark.parametrize(
    "url", ["library://a/b:1", "oras://x/y", "https://x/y.sif", "shub://x", "x.sif", ""]
)
def test_images_of_apptainers_own_are_refused(url: str) -> None:
    with pytest.raises(UserError):
        apptainer.source(url)


def test_addresses() -> None:
    assert apptainer.source("docker://a/b:1") == apptainer.Source("registry", "a/b:1")
    assert apptainer.source("docker-daemon:sha256:1").name == "sha256:1"
    assert apptainer.source("oci-archive:/x.tar") == apptainer.Source("file", "/x.tar")
