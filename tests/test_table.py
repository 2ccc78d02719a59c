"""A step's table: Student's interval, and what becomes of metrics."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_experiment import table

KEY: dict[str, Any] = {
    "axes": ["method"],
    "rows": [
        {"axes": {"method": m}, "metrics": f"{m}{i}.json", "replicate": str(i), "seed": i}
        for m in ("x", True)
        for i in range(2)
    ],
}


@pytest.mark.engine("scipy")
@settings(max_examples=50)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40))
def test_interval_is_scipys(values: list[float]) -> None:
    from scipy import stats

    mean, sd, low, high = table.interval(values)
    assert sd is not None
    if sd == 0:
        assert low == mean == high
        return
    assert mean == pytest.approx(statistics.fmean(values))
    expected = stats.t.interval(0.95, len(values) - 1, loc=mean, scale=sd / math.sqrt(len(values)))
    assert [low, high] == pytest.approx(list(expected))


def test_the_interval_of_students_own_table() -> None:
    """t(0.975, 4) is 2.776 in every printed table."""
    mean, sd, low, high = table.interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (mean, low, high) == pytest.approx(
        (3.0, 3 - 2.776 * 0.70711, 3 + 2.776 * 0.70711), abs=1e-3
    )
    assert sd == pytest.approx(1.5811388)


def test_what_has_no_spread() -> None:
    assert table.interval([3.0]) == (3.0, None, None, None)
    assert table.interval([1.0, math.inf]) == (math.inf, None, None, None)
    assert table.interval([2.0, 2.0])[1:] == (0.0, 2.0, 2.0)
    assert math.isnan(table.interval([1.0, math.nan])[0])


def test_tables() -> None:
    metrics: list[dict[str, float]] = [
        {"acc": 0.5},
        {"acc": 1.0, "loss": 3},
        {"acc": 1.0},
        {"acc": 1.0},
    ]
    long, short = table.tables(KEY, metrics)
    assert long.splitlines()[:3] == [
        "method,replicate,seed,metric,value",
        "x,0,0,acc,0.5",
        "x,1,1,acc,1.0",
    ]
    lines = short.splitlines()
    assert lines[0] == "method,metric,mean,sd,n,low,high"
    assert lines[2:] == ["x,loss,3.0,,1,,", "true,acc,1.0,0.0,2,1.0,1.0"]
    assert lines[1].startswith("x,acc,0.75,0.3535533905932738,2,-2.42")


def test_the_job_names_every_file_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    rows = [{**row, "metrics": str(tmp_path / row["metrics"])} for row in KEY["rows"]]
    (tmp_path / "key.json").write_text(json.dumps({**KEY, "rows": rows}))
    words = [str(tmp_path / name) for name in ("key.json", "table.csv", "summary.csv")]
    (tmp_path / "x0.json").write_text('{"acc": true}')
    assert table.main(words) == 1
    assert all(name in capsys.readouterr().err for name in ["x1.json", "True0.json"][:1])
    assert not (tmp_path / "table.csv").exists()
    for row in rows:
        Path(row["metrics"]).write_text('{"acc": true}')
    assert table.main(words) == 0
    assert "x,acc,1.0,0.0,2,1.0,1.0" in (tmp_path / "summary.csv").read_text()
