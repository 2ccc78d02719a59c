"""The commands about what was recorded: runs, track, ui."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_experiment.errors import UserError

if TYPE_CHECKING:
    from ml_experiment.services.track import Sender

FEW = 4  # metrics on a line


def runs(options: argparse.Namespace) -> int:
    """`ml-experiment runs`."""
    from ml_experiment.services import runs as service

    asked = options.run
    if asked[:1] == ["diff"]:
        return _diff(asked[1:], as_json=options.json)
    if len(asked) > 1:
        raise UserError("more than one run", value=" ".join(asked), hint="runs diff A B")
    rows: Sequence[Any]
    if asked:
        rows = service.jobs(Path.cwd(), asked[0])
        lines = [("job", "state", "took", "seed", "metrics"), *map(_job, rows)]
    else:
        rows = service.runs(Path.cwd())[-options.last :]
        lines = [("when", "run", "what", "jobs", "took", "metrics"), *map(_run, rows)]
    if options.json:
        print(json.dumps([dataclasses.asdict(row) for row in rows], indent=1))
    elif rows:
        print(columns(lines))
    else:
        print("nothing was run yet", file=sys.stderr)
    return 0


def _diff(asked: Sequence[str], *, as_json: bool) -> int:
    from ml_experiment.cli import difference
    from ml_experiment.services import runs as service

    if len(asked) > 2:
        raise UserError("more than two runs", value=" ".join(asked))
    first, second = [*asked, *["last~1", "last"][len(asked) :]]
    found = service.diff(Path.cwd(), first, second)
    if as_json:
        print(json.dumps(dataclasses.asdict(found), indent=1))
    else:
        print(difference.text(found))
    return 1 if found.jobs or found.run else 0


def _job(row: Any) -> tuple[str, ...]:
    from ml_experiment.ending import duration

    seed = "–" if row.seed is None else str(row.seed)
    return row.job, row.state, duration(row.seconds), seed, _metrics(row.metrics)


def _run(row: Any) -> tuple[str, ...]:
    from ml_experiment.ending import duration

    jobs = f"{row.finished} done" + (f", {row.failed} failed" if row.failed else "")
    jobs += f" ({row.state})" if row.state not in ("finished", "failed") else ""
    what = " ".join([row.experiment, *_asked(row.command)])
    came = f"{row.job}: {_metrics(row.metrics)}" if row.job else ""
    when = row.started.replace("T", " ")[:16]
    return when, row.run, what, jobs, duration(row.seconds), came


def track(options: argparse.Namespace) -> int:
    """`ml-experiment track`."""
    from ml_experiment import tracking
    from ml_experiment.adapters.terminal import sending
    from ml_experiment.services import track as service

    folder = Path.cwd()
    uri = options.to or tracking.uri(folder)
    show = sending(sys.stderr)

    def heard(sender: Sender) -> None:
        show({"sent": len(sender.sent), "waiting": len(sender.pending)})

    try:
        sender = service.track(folder, uri, heard)
    finally:
        show(None)
    where = tracking.shown(uri, folder)
    print(f"{len(sender.sent)} jobs sent to {where}" if sender.sent else f"{where} has everything")
    for job, why in sender.refused.items():
        print(f"{job} was refused: {why}", file=sys.stderr)
    return 1 if sender.refused else 0


def ui(options: argparse.Namespace) -> int:
    """`ml-experiment ui`."""
    from ml_experiment.services import ui as service

    folder = Path.cwd()
    already = service.address(folder)
    if already:
        print(f"MLflow's page is at {already}")
        return 0
    address, words = service.command(folder, options.port)
    print(f"MLflow's page will be at {address} in a few seconds; Ctrl-C ends it")
    service.serve(folder, words)
    return 0


def _asked(command: str) -> list[str]:
    """What a command asked for beyond the usual: targets and config, not cores and profile."""
    words = command.split()
    return words[words.index("--config") :] if "--config" in words else []


def _metrics(metrics: Mapping[str, float]) -> str:
    shown = [f"{name} {value:.4g}" for name, value in list(metrics.items())[:FEW]]
    return ", ".join(shown) + (", …" if len(metrics) > FEW else "")


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, one below the other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(text.rstrip() for text in texts)
