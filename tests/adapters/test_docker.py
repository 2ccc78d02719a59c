"""Docker's engine through its SDK, with a real one."""

from __future__ import annotations

import gc
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from ml_experiment.adapters.docker import Engine, Image
from ml_experiment.errors import UserError
from tests.docker_engine import BASE

ID = "sha256:" + "1" * 64


@pytest.fixture
def engine(docker: Mapping[str, str]) -> Iterator[Engine]:
    made = Engine(docker)
    yield made
    made.close()


def silent(line: str) -> None:
    pass


def context(folder: Path, text: str, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in {"Dockerfile": f"FROM {BASE}\n{text}", **files}.items():
        (folder / name).write_text(content, "utf-8")
    return folder


def base(engine: Engine) -> Image:
    found = engine.image(BASE)
    assert found is not None
    return found


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_engine_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no Docker engine answers") as raised:
        Engine({"DOCKER_HOST": f"unix://{tmp_path}/nothing.sock"})
    assert "DOCKER_HOST" in str(raised.value)
    del raised
    gc.collect()  # the SDK does not close a socket that has reached nothing


def test_an_image_that_nobody_has(engine: Engine) -> None:
    assert engine.image("ml-experiment-test/nothing:1") is None
    with pytest.raises(UserError, match="is not here and cannot be pulled"):
        engine.pull("127.0.0.1:9/nothing:1", None, silent)  # a port that nobody listens at


def test_a_build_that_fails_names_the_step_and_the_end_of_its_output(
    engine: Engine, tmp_path: Path
) -> None:
    made = context(
        tmp_path / "c", "RUN true\nRUN echo before; echo the reason >&2; exit 7\nRUN true\n"
    )
    with pytest.raises(UserError) as raised:
        engine.build(made, None, silent, again=False, what="envs/x")
    told = str(raised.value)
    assert "building envs/x has failed in: Step 3/4 : RUN echo before" in told
    assert "the reason" in told
    assert "returned a non-zero code: 7" in told


def test_files_say_what_differs_between_two_images(engine: Engine, tmp_path: Path) -> None:
    one = engine.build(
        context(tmp_path / "a", "COPY x /x\n", x="1"), None, silent, again=True, what="a"
    )
    other = engine.build(
        context(tmp_path / "b", "COPY x /x\n", x="2"), None, silent, again=True, what="b"
    )
    before, after = engine.files(one.id), engine.files(other.id)
    assert {path for path in before if before[path] != after.get(path)} == {"x"}
    assert before.keys() == after.keys()
    assert "usr/bin/env" in before


def test_what_a_program_prints_and_how_it_ends(engine: Engine) -> None:
    assert engine.run(base(engine).id, ["sh", "-c", "echo out; echo err >&2; exit 3"]) == (
        3,
        "out\nerr\n",
    )
    assert engine.run(base(engine).id, ["sh", "-c", "echo out; echo err >&2"]) == (0, "out\n")
    status, told = engine.run(base(engine).id, ["nothing"])
    assert status == 127
    assert "nothing" in told


@pytest.mark.parametrize("whole", [False, True])
def test_an_image_of_the_same_contents_is_the_same_image(
    whole: bool, engine: Engine, tmp_path: Path
) -> None:
    """Also where the engine has to be given the base again."""
    text = "RUN mkdir -p /opt/env/bin && echo {} > /opt/env/x && ln -s x /opt/env/y && ln /opt/env/x /opt/env/z\nENV A=b\n"
    found = []
    for number in range(2):  # the files' times differ
        made = context(tmp_path / str(number), text.format(whole))
        built = engine.build(made, None, silent, again=True, what="x")
        found.append(engine.same_everywhere(built, base(engine), "/opt/env", whole=whole))
        assert found[-1].id != built.id
    assert found[0].id == found[1].id
    status, told = engine.run(
        found[0].id, ["sh", "-c", "cat /opt/env/y /opt/env/z; echo $A; ls -l /opt/env/x"]
    )
    assert (status, told.splitlines()[:3]) == (0, [str(whole), str(whole), "b"])
    assert "1980" in told
    assert found[0].layers[:-1] == base(engine).layers


def test_an_archive_is_the_image(engine: Engine) -> None:
    file = io.BytesIO()
    engine.save(base(engine).id, BASE, file)
    assert file.tell() > 10_000_000
    file.seek(0)
    with tarfile.open(fileobj=file) as archive:
        manifest = archive.extractfile("manifest.json")
        assert manifest is not None
        assert json.load(manifest)[0]["RepoTags"] == [BASE]


@pytest.mark.parametrize(
    ("name", "tags", "asked"),
    [
        ("mine/x:1", ["mine/x:1", "mine/x:2"], "mine/x:1"),
        ("localhost:5000/x", ["localhost:5000/x:latest"], "localhost:5000/x:latest"),
        ("mine/x:1", ["mine/x:2"], ID),  # the name is another image's now
        ("pytorch/pytorch@sha256:" + "2" * 64, [], ID),
        ("", [], ID),
    ],
)
def test_an_image_is_written_whatever_it_is_called(name: str, tags: list[str], asked: str) -> None:
    from docker.models.images import Image as Theirs

    api = SimpleNamespace(get_image=lambda image, _: [image.encode()])
    chosen = Theirs({"Id": ID, "RepoTags": tags}, SimpleNamespace(api=api))
    engine = Engine.__new__(Engine)  # one that is not asked
    engine._client = SimpleNamespace(images=SimpleNamespace(get={ID: chosen}.__getitem__))
    file = io.BytesIO()
    engine.save(ID, name, file)
    assert file.getvalue() == asked.encode()
