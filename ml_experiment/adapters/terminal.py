"""The live display of a run: a bar on a terminal, a line for each job elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from ml_experiment.progress import Studies

QUIET = 2.0  # seconds until progress is shown
WIDTH = 44  # columns for the names of what runs


class _Bar(Progress):
    """A bar with lines below it."""

    lines: Sequence[str] = ()

    def get_renderables(self) -> Iterator[RenderableType]:
        """The bar; lines that are too long for the terminal are cut."""
        yield from super().get_renderables()
        for line in self.lines:
            yield Text(line, no_wrap=True, overflow="ellipsis")


class Display:
    """Jobs done, jobs running, time; how far studies are.

    Attributes:
        studies: those that run, as whoever shows a job here tells them.
    """

    def __init__(self, stream: TextIO) -> None:
        console = Console(file=stream)
        self.console = console
        self.running: dict[str, None] = {}
        self.done = self.total = 0
        self.studies = Studies()
        self.bar: _Bar | None = None
        if console.is_terminal:
            columns = (BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn())
            names = TextColumn("{task.description}", markup=False)
            self.bar = _Bar(*columns, names, console=console, transient=True)
            self.task = self.bar.add_task("planning", total=None)
            self.bar.start()

    def started(self, name: str) -> None:
        """A job has been announced."""
        self.running[name] = None
        self._draw()

    def finished(self, name: str, seconds: float) -> None:
        """A job has succeeded."""
        self.running.pop(name, None)
        self.done += 1
        self._line(f"done {name} ({seconds:.1f} s)")

    def failed(self, name: str) -> None:
        """An attempt of a job has failed."""
        self.running.pop(name, None)
        self._line(f"failed {name}")

    def progress(self, done: int, total: int) -> None:
        """Snakemake's own count."""
        self.done, self.total = done, total
        self._draw()

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self.bar:
            self.bar.stop()

    def _line(self, text: str) -> None:
        if self.bar:
            self._draw()
        else:
            print(
                text, *self.studies.news(time.time()), sep="\n", file=self.console.file, flush=True
            )

    def _draw(self) -> None:
        if self.bar:
            names = f"{len(self.running)} running: " + ", ".join(self.running)
            shown = names if len(names) <= WIDTH else names[: WIDTH - 1] + "…"
            total = self.total or None
            self.bar.lines = self.studies.lines(time.time())
            self.bar.update(self.task, completed=self.done, total=total, description=shown)


def sending(stream: TextIO) -> Callable[[dict[str, Any] | None], None]:
    """Shows how many records were sent and how many wait, once that takes long; None ends it."""
    begun = time.monotonic()
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(30), MofNCompleteColumn(),
        console=Console(file=stream), transient=True,
    )  # fmt: skip
    task = bar.add_task("MLflow", total=None)
    said = False

    def show(told: dict[str, Any] | None) -> None:
        nonlocal said
        if told is None:
            if said and bar.console.is_terminal:
                bar.stop()
            return
        sent, waiting = told.get("sent", 0) + told.get("others", 0), told.get("waiting", 0)
        bar.update(task, completed=sent, total=sent + waiting)
        if said or not waiting or time.monotonic() - begun < QUIET:
            return
        said = True
        if bar.console.is_terminal:
            bar.start()
        else:
            print(f"MLflow: still sending, {waiting} to go", file=stream, flush=True)

    return show


@contextlib.contextmanager
def telling(stream: TextIO) -> Iterator[Callable[[str], None]]:
    """Takes the lines of something long: on a terminal the last one is shown, elsewhere all are.

    A line that is indented belongs to the one before, and is of no interest any more when that is done.
    """
    console = Console(file=stream, highlight=False, markup=False)
    if not console.is_terminal:
        yield lambda line: print(line, file=stream, flush=True)
        return
    with console.status("") as status:

        def show(line: str) -> None:
            if not line.startswith(" "):
                console.print(line, no_wrap=True, overflow="ellipsis")
            status.update(Text(line.strip(), no_wrap=True, overflow="ellipsis"))

        yield show
