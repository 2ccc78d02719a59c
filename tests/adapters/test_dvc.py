"""Listings of folders come from anybody: their names and digests become paths here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ml_experiment.adapters import dvc

GOOD = {"relpath": "in/a.txt", "md5": "a" * 32}


@pytest.mark.parametrize(
    "entry",
    [{"relpath": name} for name in ("../b", "/b", "in/../../b", "", "in//b")]
    + [{"md5": "../../elsewhere"}, {"md5": "a" * 31}],
)
def test_what_would_lead_elsewhere_is_no_listing(entry: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "listing"
    file.write_text(json.dumps([GOOD]))
    assert dvc._members(file) == {"in/a.txt": "a" * 32}
    file.write_text(json.dumps([GOOD, {**GOOD, "relpath": "c", **entry}]))
    assert dvc._members(file) == {}
    assert dvc.object_in_cache(tmp_path, "../../elsewhere") is None
