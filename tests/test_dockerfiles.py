"""Which images a Dockerfile takes something from, and those that are written."""

from __future__ import annotations

import pytest

from ml_experiment import dockerfiles
from ml_experiment.errors import UserError

TEXT = """\
# FROM nothing:1
ARG BASE=python:3.12-slim
FROM --platform=linux/amd64 ${BASE} AS Build
RUN pip install x
FROM build AS second
COPY --chown=1:1 --from=busybox:1 /bin/sh /sh
COPY --from=build /a /a
COPY --from=0 /b /b
from scratch
FROM debian
"""


def test_every_image_is_found_and_no_stage_is_one() -> None:
    names = [taken.name for taken in dockerfiles.images(TEXT, "envs/x")]
    assert names == ["python:3.12-slim", "busybox:1", "debian"]


def test_what_is_pinned_takes_their_place_and_nothing_else_changes() -> None:
    pins = {"python:3.12-slim": "python@sha256:1", "busybox:1": "sha256:2", "debian": "sha256:3"}
    text = dockerfiles.pinned(TEXT, pins, "envs/x")
    assert text.splitlines()[2] == "FROM --platform=linux/amd64 python@sha256:1 AS Build"
    changed = [
        n
        for n, pair in enumerate(zip(TEXT.splitlines(), text.splitlines(), strict=True))
        if len(set(pair)) > 1
    ]
    assert changed == [2, 5, 9]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("RUN true\n", "no FROM line"),
        ("ARG BASE\nFROM $BASE\n", "depends on an ARG without a value"),
    ],
)
def test_an_image_that_cannot_be_known_is_a_mistake(text: str, what: str) -> None:
    with pytest.raises(UserError, match=what) as raised:
        list(dockerfiles.images(text, "envs/x"))
    assert "envs/x/Dockerfile" in str(raised.value)


@pytest.mark.parametrize("kind", ["python", "conda", "r"])
def test_what_is_written_is_upon_the_base_alone(kind: dockerfiles.Kind) -> None:
    text = dockerfiles.written(kind, "sha256:abc")
    assert {taken.name for taken in dockerfiles.images(text, "envs/x")} == {"sha256:abc"}
    assert "{" not in text.replace("{ /opt", "").replace("|| true; }", "")


@pytest.mark.parametrize(
    ("line", "taken"),
    [
        ("COPY wheels /tmp/wheels", True),
        ("copy --chown=1:1 wheels/ /tmp/", True),
        ("COPY requirements.lock wheels /tmp/w/", True),
        ('COPY ["wheels", "/tmp/w"]', True),
        ("COPY else wheels", False),
        ("COPY --from=other wheels /tmp/", False),
        ("COPY mywheels /tmp/", False),
        ("# COPY wheels /tmp", False),
    ],
)
def test_wheels_are_for_who_copies_them(line: str, taken: bool) -> None:
    assert dockerfiles.takes_wheels(f"FROM a\n{line}\n") is taken
