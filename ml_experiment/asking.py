"""The process that suggests trials, as the process that plans them sees it.

Optuna is imported there only, with one thread and pinned kernels, so that equal results give equal
suggestions on any x86 machine. What passes between the two is lines of JSON.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from ml_experiment.errors import UserError
from ml_experiment.search import Result, Search, Suggestion


class Answer(NamedTuple):
    """A suggestion, and what made it: versions, and the kernels that the numbers depend on."""

    suggestion: Suggestion
    by: dict[str, Any]


class Question(NamedTuple):
    """What is asked: the trial behind some suggestions, with the results that it is told."""

    study: str
    search: Search
    suggestions: list[Suggestion]
    results: list[Result]


class Asking:
    """Suggests trials of any number of studies. The process starts with the first question."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._known: dict[str, tuple[int, int]] = {}  # study -> trials and results it was told
        self._open: Question | None = None  # its answer has not been read
        self._early: dict[str, tuple[Question, dict[str, Any]]] = {}  # study -> not wanted yet

    def suggest(
        self,
        study: str,
        search: Search,
        suggestions: Sequence[Suggestion],
        results: Sequence[Result],
    ) -> Answer:
        """The trial that comes behind some suggestions.

        Args:
            study: a name of its own for each study.
            search: what it declares.
            suggestions: of all trials before, in order.
            results: in order, of at least the trials that the window tells.

        Raises:
            UserError: there is no such sampler, or it does not take these options.
        """
        question = _question(study, search, suggestions, results)
        self._receive()
        early, answer = self._early.pop(study, (None, {}))
        if early != question:
            self._send(question)
            self._receive()
            _, answer = self._early.pop(study)
        if "error" in answer:
            raise UserError(str(answer["error"]))
        made = Suggestion(len(suggestions), answer["params"], answer["state"], answer["pruning"])
        return Answer(made, answer["by"])

    def begin(
        self,
        study: str,
        search: Search,
        suggestions: Sequence[Suggestion],
        results: Sequence[Result],
    ) -> None:
        """Ask what will be wanted soon. `suggest` has the answer then, if the question is the same."""
        self._receive()
        self._send(_question(study, search, suggestions, results))

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            assert self._process.stdin is not None
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
        self._process, self._open, self._known, self._early = None, None, {}, {}

    def _send(self, question: Question) -> None:
        study, search, suggestions, results = question
        asked, sent = self._known.get(study, (0, 0))
        fresh = asked == 0 or asked > len(suggestions)
        if fresh:
            asked = sent = 0
        line = {
            "fresh": search.data() if fresh else None,
            "restore": [[s.number, s.params, s.state] for s in suggestions[asked:]],
            "results": [vars(r) for r in results[sent:]],
            "study": study,
        }
        process = self._process = self._process or _started()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(line) + "\n")
            process.stdin.flush()
        except OSError:
            self._ended()
        self._open = question
        self._known[study] = len(suggestions) + 1, len(results)

    def _receive(self) -> None:
        """Read the answer that is open, whoever wants it."""
        if self._open is None:
            return
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            answer = dict(json.loads(self._process.stdout.readline()))
        except (OSError, ValueError):
            self._ended()
        if "error" in answer:
            self._known.pop(self._open.study, None)
        self._early[self._open.study] = self._open, answer
        self._open = None

    def _ended(self) -> NoReturn:
        self.close()
        raise UserError("the process that suggests trials has ended") from None


def _question(
    study: str, search: Search, suggestions: Sequence[Suggestion], results: Sequence[Result]
) -> Question:
    told = len(search.told_before(len(suggestions)))
    return Question(study, search, [*suggestions], [*results[:told]])


def _started() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "ml_experiment.services.suggester"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for Snakemake; its end closes the pipe
    )
