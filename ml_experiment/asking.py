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
from typing import Any, NamedTuple

from ml_experiment.errors import UserError
from ml_experiment.search import Result, Search, Suggestion


class Answer(NamedTuple):
    """A suggestion, and what made it: versions, and the kernels that the numbers depend on."""

    suggestion: Suggestion
    by: dict[str, Any]


class Asking:
    """Suggests trials of any number of studies. The process starts with the first question."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._known: dict[str, tuple[int, int]] = {}  # study -> trials and results it was told

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
        number = len(suggestions)
        due = results[: len(search.told_before(number))]
        asked, sent = self._known.get(study, (0, 0))
        fresh = asked == 0 or asked > number
        if fresh:
            asked = sent = 0
        question = {
            "fresh": search.data() if fresh else None,
            "restore": [[s.number, s.params, s.state] for s in suggestions[asked:]],
            "results": [vars(r) for r in due[sent:]],
            "study": study,
        }
        answer = self._ask(question)
        if "error" in answer:
            self._known.pop(study, None)
            raise UserError(str(answer["error"]))
        self._known[study] = number + 1, len(due)
        made = Suggestion(number, answer["params"], answer["state"], answer["pruning"])
        return Answer(made, answer["by"])

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            assert self._process.stdin is not None
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
        self._process, self._known = None, {}

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ml_experiment.services.suggester"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is for Snakemake; its end closes the pipe
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            self.close()
            raise UserError("the process that suggests trials has ended") from None
        return dict(answer)
