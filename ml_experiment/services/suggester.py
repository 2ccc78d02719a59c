"""The process that suggests trials: `python -m …`, questions in, suggestions out, lines of JSON.

It starts itself once more under pinned kernels, which libraries read when they are loaded; Optuna
is loaded by the second one only.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

from ml_experiment.adapters.kernels import pinned

if TYPE_CHECKING:
    from ml_experiment.adapters.optuna import Asker
    from ml_experiment.search import Result

MARK = "ML_EXPERIMENT_PINNED"


class Studies:
    """The studies that were asked about, each with the results that it was told."""

    def __init__(self) -> None:
        from ml_experiment.adapters.optuna import made_by  # noqa: PLC0415

        self.askers: dict[str, tuple[Asker, list[Result]]] = {}
        self.by = made_by()

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """A suggestion, or what is wrong."""
        from ml_experiment import search  # noqa: PLC0415
        from ml_experiment.adapters.optuna import Asker  # noqa: PLC0415
        from ml_experiment.errors import MLExperimentError  # noqa: PLC0415

        study = question["study"]
        try:
            if question["fresh"] is not None:
                self.askers[study] = Asker(search.search(question["fresh"])), []
            asker, results = self.askers[study]
            results += map(search.result, question["results"])
            for number, params, state in question["restore"]:
                asker.restore(search.Suggestion(number, params, state), results)
            suggestion = asker.ask(results)
        except MLExperimentError as error:
            self.askers.pop(study, None)
            return {"error": str(error)}
        except Exception as error:  # noqa: BLE001  # of a sampler, a pruner, a function of the project
            self.askers.pop(study, None)
            return {"error": f"its sampler or its space fails: {_told(error)}"}
        said = {"params": suggestion.params, "state": suggestion.state}
        return {"by": self.by, "pruning": suggestion.pruning, **said}


def _told(error: Exception) -> str:
    """An exception, and where in the project it comes from, if it does."""
    frames = traceback.extract_tb(error.__traceback__)
    own = os.path.join(os.getcwd(), "")
    inside = [f for f in frames if f.filename.startswith(own) and "-packages" not in f.filename]
    where = f" ({inside[-1].filename.removeprefix(own)}:{inside[-1].lineno})" if inside else ""
    return f"{type(error).__name__}: {error}{where}"


def main() -> None:
    """Answer until standard input closes."""
    if MARK not in os.environ:
        # a function or sampler of the project may walk through a set
        environ = {**os.environ, **pinned(), "PYTHONHASHSEED": "0", MARK: "1"}
        words = [sys.executable, "-P", "-m", "ml_experiment.services.suggester"]
        os.execve(sys.executable, words, environ)  # noqa: S606  # no shell is wanted here
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # a function that draws a space may print, and a program that it starts
    studies = Studies()
    # Only now, so that no module of the project takes the place of one that Optuna needs.
    sys.path[:0] = [os.getcwd(), "src"]
    for line in sys.stdin:
        answer = json.dumps(studies.answer(json.loads(line)))
        try:
            print(answer, file=answers, flush=True)
        except BrokenPipeError:  # asked ahead, and nobody wants it any more
            os._exit(0)


if __name__ == "__main__":
    main()
