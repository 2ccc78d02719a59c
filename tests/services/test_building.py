"""Images of environments: locked, built, built again, moved; with a real engine and pip."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from ml_experiment import contents, environments
from ml_experiment.adapters.docker import Engine, Image
from ml_experiment.errors import UserError
from ml_experiment.services import building
from ml_experiment.services import environments as service
from tests import registry, wheels
from tests.docker_engine import BASE

SAID: list[str] = []
UPON = f"base: {BASE}\n"


@pytest.fixture(scope="module")
def engine(docker: Mapping[str, str]) -> Iterator[Engine]:
    made = Engine(docker)
    yield made
    made.close()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip looks: `one` and `two`, of which there are two versions."""
    place = wheels.folder(tmp_path / "the-index", one="1.0", two="1.5")
    wheels.folder(place, two="2.0")
    for name, value in wheels.settings(place).items():
        monkeypatch.setenv(name, value)
    return place


def workspace(folder: Path, **files: str) -> Path:
    """A workspace with the environment `x`; `image_yaml=` is image.yaml."""
    made = folder / "workspace"
    (made / "envs/x").mkdir(parents=True)
    for name, text in files.items():
        (made / "envs/x" / name.replace("_", ".")).write_text(text, "utf-8")
    return made


def of_list(folder: Path, text: str = "one\ntwo<2\n") -> Path:
    return workspace(folder, requirements_txt=text, image_yaml=UPON)


def build(place: Path, engine: Engine, **options: bool) -> building.Built:
    return building.build(place, "x", engine, SAID.append, **options)


DIGEST = "@sha256:" + "2" * 64
ID = "sha256:" + "1" * 64


@pytest.mark.parametrize(
    ("name", "registry"),
    [
        ("python:3.11-slim", f"python{DIGEST}"),
        ("docker.io/library/python:3.11-slim", f"python{DIGEST}"),
        ("index.docker.io/library/python", f"python{DIGEST}"),
        (f"python{DIGEST}", f"python{DIGEST}"),
        ("localhost:5000/python", None),
        ("mine/retagged:1", None),
        (ID, None),
    ],
)
def test_a_digest_is_found_however_a_name_is_spelled(
    name: str, registry: str | None, tmp_path: Path
) -> None:
    place = workspace(tmp_path, image_yaml=f"image: {name}\n")
    image = Image(ID, (f"other/python{DIGEST}", f"python{DIGEST}"), "linux/amd64", (), {})
    stub = SimpleNamespace(image=lambda _: image, run=lambda *_: (1, ""), platform=image.platform)
    locked = building.lock(place, "x", cast(Engine, stub), SAID.append)
    assert (locked.base, locked.registry) == ({name: registry or ID}, registry)
    assert locked.image == ID


@pytest.mark.usefixtures("index")
def test_a_list_becomes_an_image_which_is_the_same_wherever_it_is_built(
    engine: Engine, tmp_path: Path
) -> None:
    place = of_list(tmp_path)
    locked = building.lock(place, "x", engine, SAID.append)
    base = engine.image(BASE)
    assert base is not None
    assert (locked.base, locked.image, locked.platform) == ({BASE: base.id}, None, engine.platform)
    pins = (place / "envs/x/requirements.lock").read_text()
    assert "one==1.0 \\\n    --hash=sha256:" in pins
    assert "two==1.5 \\\n    --hash=sha256:" in pins
    built = build(place, engine)
    assert built.lock.packages["python"].items() >= {("one", "1.0"), ("two", "1.5")}
    assert environments.read(place, "x") == built.lock
    status, told = engine.run(
        built.lock.image or "", ["python", "-c", "import two; print(two.VERSION, two.__cached__)"]
    )
    assert (status, told.split()[0]) == (0, "1.5")
    assert build(place, engine) == building.Built(built.lock), "it is built although it is there"

    other = of_list(tmp_path / "other")  # another machine, which has the same files
    for name in ("image.lock", "requirements.lock"):
        (other / "envs/x" / name).write_text((place / "envs/x" / name).read_text())
    again = build(other, engine, again=True)
    assert (again.same, again.again, again.lock) == (True, True, built.lock)


def test_nothing_of_where_packages_came_from_is_in_the_image(
    engine: Engine, index: Path, tmp_path: Path
) -> None:
    place = of_list(tmp_path)
    image = build(place, engine).lock.image or ""
    target = tmp_path / "image.tar"
    assert service.export(place, "x", engine, target) == target.stat().st_size
    name = index.name.encode()
    with tarfile.open(target) as archive:
        files = [archive.extractfile(member) for member in archive]
        contents = [file.read() for file in files if file]
    assert any(b"opt/env/bin/python" in content for content in contents)
    assert not any(name in content for content in contents)
    assert all(name not in file.read_bytes() for file in (place / "envs/x").iterdir())
    left = {file.name for file in (place / ".ml_experiment/envs/x").iterdir()}
    assert left == {"Dockerfile", "requirements.lock"}
    assert service.entries(place, engine)[0].image == image


def test_what_a_list_says_of_where_wheels_are_holds_when_they_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in wheels.settings(wheels.folder(tmp_path / "pips")).items():
        monkeypatch.setenv(name, value)
    wheels.folder(tmp_path / "mine", one="1.0")
    place = of_list(tmp_path, f"--find-links {tmp_path}/mine\n-r base.txt\n")
    (place / "envs/x/base.txt").write_text("one\n")
    python = [f"{sys.version_info[0]}.{sys.version_info[1]}", "x86_64", "glibc", "2.36"]
    image = Image(ID, (), "linux/amd64", (), {})
    stub = SimpleNamespace(run=lambda *_: (0, json.dumps(python)), platform=image.platform)
    stub.image = lambda _: image
    engine = cast(Engine, stub)
    locked = building.lock(place, "x", engine, SAID.append)
    assert set(locked.sources) == {
        "base.txt",
        "image.yaml",
        "requirements.lock",
        "requirements.txt",
    }
    wanted = environments.declared(place, "x")
    building._fetch(wanted, engine, image, tmp_path / "wheels", SAID.append)
    assert (tmp_path / "wheels/one-1.0-py3-none-any.whl").exists()
    (place / "envs/x/base.txt").write_text("one<2\n")
    assert environments.changed(wanted, locked) == ["base.txt"]

    (place / "envs/x/base.txt").unlink()  # a fault of this environment, not of the whole list
    assert [entry.state for entry in service.entries(place, None)] == ["wrong"]


OWN = f"""\
FROM {BASE}
COPY requirements.lock /tmp/
COPY wheels /tmp/wheels
RUN set -- /tmp/wheels/pip-*.whl && python3 "$1/pip" install --no-index --find-links=/tmp/wheels \\
    --break-system-packages --no-deps --require-hashes -r /tmp/requirements.lock && rm -r /tmp/wheels \\
    && test -n "$HTTPS_PROXY"
"""


def test_a_dockerfile_of_ones_own_gets_the_wheels_and_nothing_of_where_they_came_from(
    engine: Engine, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://user:password-of-mine@127.0.0.1:9")
    place = workspace(tmp_path, Dockerfile=OWN, requirements_txt="two<2\n")
    locked = build(place, engine).lock
    assert "requirements.lock" in locked.sources
    assert locked.packages["python"]["two"] == "1.5"
    service.export(place, "x", engine, tmp_path / "image.tar")
    with tarfile.open(tmp_path / "image.tar") as archive:
        files = [archive.extractfile(member) for member in archive]
        contents = [file.read() for file in files if file]
    for secret in (index.name.encode(), b"password-of-mine"):
        assert not any(secret in content for content in contents), secret
    assert not any((place / ".ml_experiment/envs/x").glob("wheels"))


def test_an_exported_image_is_that_image_where_it_is_loaded(
    docker: Mapping[str, str], engine: Engine, tmp_path: Path
) -> None:
    place = workspace(tmp_path, Dockerfile=f"FROM {BASE}\nRUN echo {tmp_path.name} > /x\n")
    locked = build(place, engine).lock
    service.export(place, "x", engine, tmp_path / "x.tar")
    engine.remove(locked.name or "")
    assert engine.image(locked.image or "") is None
    assert service.entries(place, engine)[0].state == "missing"
    assert [fault.what for fault in service.check(place, [], engine)] == [
        f"the engine does not have {locked.image}"
    ]
    with pytest.raises(UserError, match="the engine does not have its image"):
        service.export(place, "x", engine, tmp_path / "y.tar")
    assert not (tmp_path / "y.tar").exists()
    words = [
        "docker",
        "--host",
        docker["DOCKER_HOST"],
        "load",
        "--quiet",
        "--input",
        str(tmp_path / "x.tar"),
    ]
    subprocess.run(words, check=True, capture_output=True)
    assert service.check(place, [], engine) == []
    assert service.entries(place, engine)[0].state == "ready"


def test_another_build_says_in_what_it_differs_and_changes_no_lock(
    engine: Engine, tmp_path: Path
) -> None:
    text = (
        f"FROM {BASE}\nRUN cat /proc/sys/kernel/random/uuid > /opt/number; echo same > /opt/same\n"
    )
    place = workspace(tmp_path, Dockerfile=text)
    first = build(place, engine)
    again = build(place, engine, again=True)
    assert (again.same, again.packages, again.files) == (False, [], ["opt/number: content"])
    assert not again.written
    assert environments.read(place, "x") == first.lock
    assert build(place, engine, again=True, accept=True).written
    assert environments.read(place, "x") != first.lock


@pytest.mark.usefixtures("index")
def test_what_has_changed_is_locked_again(engine: Engine, tmp_path: Path) -> None:
    place = of_list(tmp_path)
    first = build(place, engine).lock
    (place / "envs/x/requirements.txt").write_text("one\ntwo\n")
    assert service.entries(place, engine)[0].state == "stale"
    assert "requirements.txt changed" in service.check(place, ["x"], engine)[0].what
    second = build(place, engine).lock
    assert second.packages["python"]["two"] == "2.0"
    assert contents.package_differences(first.packages, second.packages) == [
        "python two: 1.5 → 2.0"
    ]


def test_a_name_that_means_another_image_now_is_an_error_with_both_digests(
    engine: Engine, tmp_path: Path
) -> None:
    moving = f"ml-experiment-test/moving:{tmp_path.name.lower()}"
    ids = []
    for number in range(2):
        made = tmp_path / str(number)
        made.mkdir()
        (made / "Dockerfile").write_text(f"FROM {BASE}\nRUN echo {tmp_path} {number} > /x\n")
        ids.append(engine.build(made, None, SAID.append, again=False, what="x").id)
    engine.tag(ids[0], moving)
    place = workspace(tmp_path, image_yaml=f"image: {moving}\n")
    assert build(place, engine).lock.image == ids[0]
    engine.tag(ids[1], moving)
    (fault,) = service.check(place, [], engine)
    assert fault.what == f"{moving} is another image now: locked {ids[0]}, now {ids[1]}"
    assert build(place, engine).lock.image == ids[0], "the image that is locked is still there"
    engine.remove(ids[0])
    with pytest.raises(UserError, match="is another image now than when it was locked") as raised:
        build(place, engine)
    assert all(each in str(raised.value) for each in ids)
    assert building.lock(place, "x", engine, SAID.append).image == ids[1]
    assert SAID[-1] == f"{moving}: {ids[0]} → {ids[1]}"


def test_what_cannot_be_had(engine: Engine, index: Path, tmp_path: Path) -> None:
    place = of_list(tmp_path / "a", "one==9\n")
    with pytest.raises(UserError, match="No matching distribution found for one==9"):
        build(place, engine)
    place = of_list(tmp_path / "b")
    building.lock(place, "x", engine, SAID.append)
    wheel = index / "one-1.0-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes() + b"other bytes")
    with pytest.raises(UserError, match="HASH"):
        build(place, engine)
    place = workspace(
        tmp_path / "c", Dockerfile=f"FROM {BASE}\n", image_yaml="platform: linux/riscv64\n"
    )
    with pytest.raises(UserError, match="is of another platform"):
        build(place, engine)
    assert not (place / "envs/x/image.lock").exists()
    place = of_list(tmp_path / "d")  # a lock of somebody whose base has no registry's digest
    locked = building.lock(place, "x", engine, SAID.append)
    elsewhere = "sha256:" + "0" * 64
    environments.write(place, "x", replace(locked, base={BASE: elsewhere}, image=elsewhere))
    with pytest.raises(UserError, match="is another image now than when it was locked") as raised:
        build(place, engine)
    assert "or take the new one: `ml-experiment env lock x`" in str(raised.value)


def test_an_image_without_bash_is_a_fault(engine: Engine, tmp_path: Path) -> None:
    place = workspace(tmp_path, Dockerfile=f"FROM {BASE}\nRUN rm /bin/bash\n")
    build(place, engine)
    assert "no bash" in service.check(place, [], engine)[0].what


def test_an_image_of_another_platform_is_a_fault(engine: Engine, tmp_path: Path) -> None:
    place = workspace(tmp_path, image_yaml=f"image: {BASE}\n")
    locked = build(place, engine).lock
    assert service.check(place, [], engine) == []
    environments.write(place, "x", replace(locked, image="sha256:" + "0" * 64))
    assert "the engine does not have" in service.check(place, [], engine)[0].what


def push(docker: Mapping[str, str], engine: Engine, name: str, folder: Path) -> str:
    """An image of its own under a name of a registry, which the engine forgets then. Gives its id."""
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile number /\n")
    (folder / "number").write_text(f"{folder}\n")
    made = engine.build(folder, None, SAID.append, again=False, what="x").id
    engine.tag(made, name)
    run(docker, "push", "--quiet", name)
    run(docker, "image", "rm", "--force", made)
    return made


def run(docker: Mapping[str, str], *words: str) -> None:
    command = ["docker", "--host", docker["DOCKER_HOST"], *words]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize("kind", ["image", "base"])
def test_what_a_registry_has_is_pinned_by_its_digest_and_fetched_by_it(
    kind: str, docker: Mapping[str, str], engine: Engine, tmp_path: Path
) -> None:
    with registry.running() as address:
        name = f"{address}/some/image:1"
        first = push(docker, engine, name, tmp_path / "first")
        files = (
            {"image_yaml": f"image: {name}\n"}
            if kind == "image"
            else {"Dockerfile": f"FROM {name}\n"}
        )
        place = workspace(tmp_path, **files)
        locked = building.lock(place, "x", engine, SAID.append)
        pin = locked.base[name]
        assert pin.startswith(f"{address}/some/image@sha256:")
        assert build(place, engine).lock.image == first
        run(docker, "image", "rm", "--force", first)
        second = push(docker, engine, name, tmp_path / "second")
        assert engine.image(first) is None

        assert build(place, engine).lock.image == first, (
            "the name's image was taken, not the pinned one"
        )
        assert environments.read(place, "x") == build(place, engine).lock
        if kind == "image":
            assert locked.registry == pin
        engine.pull(name, None, SAID.append)
        faults = [fault.what for fault in service.check(place, [], engine)]
        now = building.lock(place, "x", engine, SAID.append).base[name]
        assert faults[-1] == f"{name} is another image now: locked {pin}, now {now}"
        assert build(place, engine).lock.image == second
