"""A folder to run jobs in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.boot.jobs import Job


@pytest.fixture
def job(tmp_path: Path) -> Job:
    folder = tmp_path / "project"
    folder.mkdir()
    return Job(folder)
