"""What all tests share."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from typing import NoReturn

import pytest
from hypothesis import settings

from tests import docker_engine

# The same examples in every run, and no limit on time: a busy machine is no finding.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")

# What a shell without a terminal starts in the background ignores Ctrl-C, and so would all that tests start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: tests of clusters and servers spend their time waiting."""
    return (os.cpu_count() or 1) + 1


def available(engine: str) -> bool:
    """Whether there is a program or a Python module of this name."""
    return shutil.which(engine) is not None or importlib.util.find_spec(engine) is not None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose engine is missing; fail it where all engines were promised."""
    missing = [
        str(name)
        for marker in item.iter_markers("engine")
        for name in marker.args
        if not available(name)
    ]
    if not missing:
        return
    lacking(f"not on this machine: {', '.join(sorted(missing))}")


def lacking(reason: str) -> NoReturn:
    """End a test that cannot run here, as its engine is missing."""
    if os.environ.get("ML_EXPERIMENT_TEST_ENGINES") == "all":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def docker() -> Iterator[Mapping[str, str]]:
    """The variables with which a Docker engine is found that has the image `docker_engine.BASE`."""
    if reason := docker_engine.missing():
        lacking(reason)
    with docker_engine.running() as environ:
        yield environ
