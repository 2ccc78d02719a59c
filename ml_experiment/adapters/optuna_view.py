"""A study as Optuna's tools show it: a storage for its dashboard, and Optuna's plots of it.

The storage is a journal: 1,000 trials are written in a second, where SQLite takes half a minute.
Nothing in it is of the moment, so the same trials are the same bytes under the same version.
"""

from __future__ import annotations

import datetime as dt
import importlib.util
import io
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ml_experiment.adapters.optuna import STATES
from ml_experiment.adapters.optuna_samplers import distribution
from ml_experiment.hashing import canonical
from ml_experiment.paths import slug
from ml_experiment.search import Direction
from ml_experiment.space import Parameter

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STORAGE = "journal.log"
BEGAN = dt.datetime(1980, 1, 1, tzinfo=dt.UTC)  # trial t begins t seconds later and takes one
MOST = 5  # parameters of a contour plot
CELLS = 1_200_000  # of a contour plot as HTML, 8 bytes each: 1,000 trials of two numbers
DRAWABLE = (2, 3)  # objectives of a Pareto front
FEW, MANY = 12, 200  # lines of a legend, and trials that are drawn with small marks
FORMS = ("html", "png")


@dataclass(frozen=True)
class Plot:
    """One plot.

    Attributes:
        name: of its files.
        function: Optuna's, which both of its modules have.
        size: of the PNG, in inches.
    """

    name: str
    function: str
    options: Mapping[str, Any]
    size: tuple[float, float] = (8.0, 5.0)
    forms: tuple[str, ...] = FORMS


def write(
    folder: Path,
    name: str,
    objectives: Mapping[str, Direction],
    parameters: Sequence[Parameter],
    rows: Sequence[Mapping[str, Any]],
) -> list[str]:
    """Write the view of a study.

    Args:
        folder: where; it is there and empty.
        name: the study's name in the storage.
        objectives: metric -> direction, in order.
        parameters: what is searched.
        rows: the trials in order, each as its file has it.

    Returns:
        What was left out and why, as lines for people.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of plots that are experimental
        study = _stored(folder / STORAGE, name, objectives, parameters, rows)
        return draw(folder, study, [p.name for p in parameters if p.kind != "fixed"])


# ---- the storage ---------------------------------------------------------------------------------


def _stored(
    file: Path,
    name: str,
    objectives: Mapping[str, Direction],
    parameters: Sequence[Parameter],
    rows: Sequence[Mapping[str, Any]],
) -> optuna.Study:
    journal = _Journal()
    study = optuna.create_study(
        storage=JournalStorage(journal), study_name=name, directions=[*objectives.values()]
    )
    study.set_metric_names([*objectives])
    known = {p.name: _shown(p) for p in parameters if p.kind != "fixed"}
    study.add_trials([_trial(row, [*objectives], known) for row in rows])
    # whoever writes a journal has a new name each time
    logs = [{**log, "worker_id": "view"} for log in journal.read_logs(0)]
    JournalFileBackend(str(file)).append_logs(logs)
    return study


class _Journal(BaseJournalBackend):
    """A journal that becomes a file when it is whole: one write, and not one for each trial."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        return map(json.loads, self.lines[log_number_from:])

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.lines += map(json.dumps, logs)


def _trial(
    row: Mapping[str, Any],
    objectives: Sequence[str],
    known: Mapping[str, tuple[BaseDistribution, Callable[[Any], Any]]],
) -> FrozenTrial:
    complete = row["state"] == "complete"
    attributes = {"reason": row["reason"]} if row["reason"] else {}
    if row["state"] == "removed":  # no state of Optuna's, and a trial that failed has no values
        attributes |= {"removed": True, "values": row["values"]}
    excess = [min(float(amount), sys.float_info.max) for amount in row.get("excess", ())]
    params = {name: value for name, value in row["params"].items() if name in known}
    begun = BEGAN + dt.timedelta(seconds=row["number"])
    return FrozenTrial(
        number=row["number"],
        trial_id=-1,  # the storage gives it one
        state=STATES.get(row["state"], TrialState.FAIL),
        value=None,
        values=[row["values"][name] for name in objectives] if complete else None,
        datetime_start=begun,
        datetime_complete=begun + dt.timedelta(seconds=1),
        params={name: known[name][1](value) for name, value in params.items()},
        distributions={name: known[name][0] for name in params},
        user_attrs=attributes,
        # the list is Optuna's older form, and the one that the dashboard reads
        system_attrs={"constraints": excess} if excess else {},
        intermediate_values={step: float(value) for step, value in row["reports"]},
    )


def _shown(parameter: Parameter) -> tuple[BaseDistribution, Callable[[Any], Any]]:
    """A parameter's distribution, and how a value of it is told there.

    Choices are themselves where Optuna takes them, otherwise their JSON. To Optuna 1, 1.0 and true
    are one choice: where that would make two of them one, all are their JSON.
    """
    if parameter.kind != "choice":
        return distribution(parameter), lambda value: value
    texts = [canonical(choice) for choice in parameter.choices]
    plain = [
        choice if choice is None or isinstance(choice, bool | int | float | str) else text
        for choice, text in zip(parameter.choices, texts, strict=True)
    ]
    shown = plain if len({*plain}) == len(plain) else texts
    return CategoricalDistribution(shown), lambda value: shown[texts.index(canonical(value))]


# ---- the plots -----------------------------------------------------------------------------------


def draw(folder: Path, study: optuna.Study, names: Sequence[str]) -> list[str]:
    """Draw a study, each plot as HTML and as PNG; what was left out and why."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not trials:
        return ["no plots: no trial is complete"]
    taken = {
        name: len({canonical(t.params[name]) for t in trials if name in t.params}) for name in names
    }
    varied = {name: count for name, count in taken.items() if count > 1}
    notes: list[str] = []
    plots = _of_all(study, notes)
    for index, objective in enumerate(study.metric_names or ()):
        plots += _of_objective(study, index, objective, varied, notes)
    _html(folder, study, plots, notes)
    _png(folder, study, plots, notes)
    return notes


def _of_all(study: optuna.Study, notes: list[str]) -> list[Plot]:
    """The plots that are not of one objective."""
    plots = []
    objectives = len(study.directions)
    if objectives in DRAWABLE:
        names = {"target_names": study.metric_names}
        plots.append(Plot("pareto", "plot_pareto_front", names))
    elif objectives > 1:
        notes.append(f"pareto: left out, it cannot show {objectives} objectives")
    if any(trial.intermediate_values for trial in study.get_trials(deepcopy=False)):
        plots.append(Plot("intermediate", "plot_intermediate_values", {}))
    return plots


def _of_objective(
    study: optuna.Study,
    index: int,
    objective: str,
    varied: Mapping[str, int],
    notes: list[str],
) -> list[Plot]:
    """The plots of one objective; `varied` has how many values each parameter takes."""
    several = len(study.directions) > 1
    mark = f"-{slug(objective).replace('%', '_')}" if several else ""  # a browser reads % its way
    sign = -1.0 if study.directions[index] == StudyDirection.MAXIMIZE else 1.0
    shown: dict[str, Any] = {"target_name": objective}
    low: dict[str, Any] = {}
    if several:
        shown["target"] = lambda trial: trial.values[index]
        low["target"] = lambda trial: sign * trial.values[index]  # for importances less is better
    plots = [Plot(f"history{mark}", "plot_optimization_history", shown)]
    names = {"params": [*varied]}
    if varied:
        wide = (max(8.0, 3.0 * len(varied)), 5.0)
        plots.append(Plot(f"slice{mark}", "plot_slice", {**shown, **names}, wide))
        wide = (max(8.0, 1.6 * len(varied)), 5.0)
        plots.append(Plot(f"parallel{mark}", "plot_parallel_coordinate", {**shown, **names}, wide))
    else:
        notes.append(f"slice{mark}, parallel{mark}: left out, no parameter has two values")
    if len(varied) > 1:
        measured = {"target_name": objective, **low, **names}
        plots.append(Plot(f"importances{mark}", "plot_param_importances", measured))
        ranked = {name: varied[name] for name in _ranked(study, [*varied], low)}
        plots += _contours(f"contour{mark}", shown, ranked, notes)
    else:
        notes.append(
            f"importances{mark}, contour{mark}: left out, they need two parameters that vary"
        )
    return plots


def _ranked(study: optuna.Study, names: list[str], target: Mapping[str, Any]) -> list[str]:
    """The most important first; as they are where Optuna cannot tell, which its plot will say."""
    try:
        return [*optuna.importance.get_param_importances(study, params=names, **target)]
    except Exception:  # noqa: BLE001
        return names


def _contours(
    name: str, shown: Mapping[str, Any], ranked: Mapping[str, int], notes: list[str]
) -> list[Plot]:
    """The contour plot of the most important parameters: as HTML of fewer, where it is too large."""
    most = [*ranked][:MOST]
    fewer = most
    while len(fewer) > 1 and _cells([ranked[name] for name in fewer]) > CELLS:
        fewer = fewer[:-1]
    if len(most) < len(ranked):
        notes.append(f"{name}: of the {MOST} most important parameters, {', '.join(most)}")
    if len(fewer) == 1:
        notes.append(f"{name}.html: left out, it would be too large")
    elif len(fewer) < len(most):
        notes.append(f"{name}.html: of {', '.join(fewer)} alone, or it would be too large")
    return [
        Plot(name, "plot_contour", {**shown, "params": params}, _square(len(params)), (form,))
        for params, form in ((most, "png"), (fewer, "html"))
        if len(params) > 1
    ]


def _square(parameters: int) -> tuple[float, float]:
    """The size of a contour plot, with room for the scale at its side."""
    side = 6.0 if parameters == 2 else 2.5 * parameters
    return (side * 1.25, side)


def _cells(counts: Sequence[int]) -> int:
    """How many cells Optuna gives a contour plot of parameters with so many values."""
    pairs = sum(one * other for one, other in combinations(counts, 2))
    return pairs if len(counts) == 2 else 2 * pairs  # of more, each pair is there twice


def _html(folder: Path, study: optuna.Study, plots: Sequence[Plot], notes: list[str]) -> None:
    """Pages that need no network: the one script that they share is beside them."""
    if _missing("plotly", "html", notes):
        return
    from optuna import visualization  # noqa: PLC0415  # the storage needs none of it

    for plot in plots:
        if "html" not in plot.forms:
            continue
        try:
            figure: Any = getattr(visualization, plot.function)(study, **plot.options)
            figure.write_html(
                folder / f"{plot.name}.html", None, include_plotlyjs="directory", div_id="plot"
            )
        except Exception as error:  # noqa: BLE001  # whatever Optuna cannot draw is no reason to fail
            notes.append(_not_drawn(f"{plot.name}.html", error))


def _png(folder: Path, study: optuna.Study, plots: Sequence[Plot], notes: list[str]) -> None:
    if _missing("matplotlib", "png", notes):
        return
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib import pyplot as plt  # noqa: PLC0415
    from optuna.visualization import matplotlib as visualization  # noqa: PLC0415

    mpl.use("Agg")
    for plot in plots:
        if "png" not in plot.forms:
            continue
        try:
            with plt.rc_context():
                getattr(visualization, plot.function)(study, **plot.options)
                figure, image = plt.gcf(), io.BytesIO()
                figure.set_size_inches(*plot.size)
                _legible(figure, len(study.get_trials(deepcopy=False)))
                figure.savefig(image, bbox_inches="tight", metadata={"Software": None})
            (folder / f"{plot.name}.png").write_bytes(image.getvalue())
        except Exception as error:  # noqa: BLE001
            notes.append(_not_drawn(f"{plot.name}.png", error))
        finally:
            plt.close("all")


def _legible(figure: Figure, trials: int) -> None:
    """Optuna draws a legend with a line for each trial, and marks that cover the plot."""
    from matplotlib.collections import PathCollection  # noqa: PLC0415

    for axes in figure.axes:
        legend = axes.get_legend()
        if legend is not None and len(legend.get_texts()) > FEW:
            legend.remove()
        for marks in axes.collections if trials > MANY else ():
            if isinstance(marks, PathCollection):
                marks.set(sizes=[8], linewidths=[0])


def _missing(package: str, form: str, notes: list[str]) -> bool:
    if importlib.util.find_spec(package) is not None:
        return False
    notes.append(
        f"no plots as {form}: pip install {package}, and remove this folder to have it made again"
    )
    return True


def _not_drawn(file: str, error: Exception) -> str:
    return f"{file}: not drawn, {type(error).__name__}: {error}"
