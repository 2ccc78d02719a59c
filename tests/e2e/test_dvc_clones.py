"""Two people with a remote between them, a folder or S3: what one has made the other has and knows."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from ml_experiment import hashing
from tests.e2e.kept import CLEAN, MADE, call, clone, commit, edit, seed_of, to_run


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A server of S3 with one bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    urllib.request.urlopen(urllib.request.Request(f"{url}/bucket", method="PUT")).close()
    yield url
    server.stop()


def add_s3(folder: Path, url: str, prefix: str) -> None:
    call(folder, "dvc", "remote", "add", "-q", "cloud", f"s3://bucket/{prefix}")
    for key, value in (
        ("endpointurl", url),
        ("access_key_id", "x"),
        ("secret_access_key", "x"),
        ("region", "us-east-1"),
    ):
        call(folder, "dvc", "remote", "modify", "cloud", key, value)
    commit(folder)


def assert_same(one: Path, other: Path) -> None:
    """The same bytes, made from the same, and nothing to do."""
    for name in MADE:
        path = f"results/make/{name}"
        assert (one / path).read_bytes() == (other / path).read_bytes()
    told = call(other, "ml-experiment", "lineage", "results/make/parts")
    assert str(hashing.of_path(other / "results/make/parts"))[:8] in told
    assert told == call(one, "ml-experiment", "lineage", "results/make/parts")
    assert to_run(other) == set()
    assert CLEAN in call(other, "dvc", "repro")


def test_what_one_pushes_the_other_pulls(lawful: Path, cache: str, s3: str) -> None:
    add_s3(lawful, s3, cache)
    first = seed_of(lawful)
    assert "6 objects sent" in call(lawful, "ml-experiment", "push", "--remote", "cloud")

    other = clone(lawful, "other", cache)
    assert "6 objects fetched, 1 records added" in call(other, "ml-experiment", "pull")
    assert_same(lawful, other)

    edit(other, "seed: 3", "seed: 4")
    assert "DVC: 1 stage" in call(other, "snakemake", "--cores", "2")
    second = seed_of(other)
    assert second != first
    assert "6 objects sent" in call(other, "ml-experiment", "push", "--remote", "cloud")
    commit(other)

    call(lawful, "git", "pull", "-q", str(other))
    told = call(lawful, "ml-experiment", "pull", "--remote", "cloud")
    assert "6 objects fetched, 1 records added" in told
    assert seed_of(lawful) == second
    assert_same(other, lawful)
