"""What a step's inputs refer to: files of other steps, or paths."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ml_experiment import matrix, placeholders, plan
from ml_experiment.errors import did_you_mean, nearest
from ml_experiment.model import Data, Step
from ml_experiment.plan import Case, Input, Source

DATA = "data"  # what stands before the dot in a reference to raw data


@dataclass(frozen=True)
class References:
    """Looks up references, and reports those that lead nowhere.

    Attributes:
        folder: the workspace.
        steps: the declared steps.
        faulty: names of steps that are there but could not be read.
        axes: step -> its axes.
        problem: reports (path in the experiment, what, value=, expected=, hint=).
        within: a step of trials -> the steps whose files it takes of its own trial, by name.
        data: the raw data that the experiment declares.
    """

    folder: Path
    steps: Mapping[str, Step]
    faulty: frozenset[str]
    axes: Mapping[str, matrix.Axes]
    problem: Callable[..., None]
    within: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    data: Mapping[str, Data] = field(default_factory=dict)

    def inputs(self, name: str, cases: tuple[Case, ...]) -> dict[str, dict[str, Input]]:
        """Case label -> name -> input, for all cases of a step."""
        found: dict[str, dict[str, Input]] = {}
        same: dict[tuple[int, object], dict[str, Input]] = {}
        for case in cases:
            declared = case.work.inputs
            varying = any("{" in text for value in declared.values() for text in _texts(value))
            token = (id(case.work), case.label if varying else None)
            if token not in same:
                same[token] = {
                    key: self._input(name, case, key, value) for key, value in declared.items()
                }
                if case.work.params_from is not None:
                    same[token][plan.NEEDED] = self._best(name, case.work.params_from)
            found[case.label] = same[token]
        return found

    def _input(self, name: str, case: Case, key: str, value: str | tuple[str, ...]) -> Input:
        path = ("steps", name, "inputs", key)
        own = self.within.get(name, {})
        found = [
            replace(source, step=own.get(source.step or "", source.step))
            for text in _texts(value)
            for source in self._sources(text, path, case)
        ]
        for source in found:
            if source.shared and source.step in own.values():
                self.problem(path, "a trial has no table of one of its own steps", value=value)
        several = any(self._several(name, source) for source in found)
        return Input(tuple(found), several or not isinstance(value, str))

    def _best(self, name: str, reference: str) -> Input:
        """The file with the best parameters of a study: one for each job."""
        study, _ = best_of(reference)
        path = ("steps", name, "params_from")
        if study not in self.steps:  # told already
            return Input((), many=True)
        found = self._output(study, "best", path)
        unmatched = [axis for axis in self.axes[study] if axis not in self.axes[name]]
        if unmatched:
            what = f"{study} has other parameters for each {', '.join(unmatched)}"
            hint = f"give the step `matrix: [{', '.join(unmatched)}]`"
            self.problem(path, what, value=reference, hint=hint)
        return Input((found,), many=True)

    def _several(self, name: str, source: Source) -> bool:
        """Whether a single reference stands for a list, by declaration and not by number."""
        if source.step is None or source.shared:
            return False
        unmatched = set(self.axes[source.step]) - set(self.axes[name])
        replicated = self.steps[source.step].replicates is not None
        return bool(unmatched) or (replicated and self.steps[name].replicates is None)

    def _sources(self, text: str, path: tuple[str, ...], case: Case) -> list[Source]:
        """Of `tune.best.models` the model of each replicate, else one."""
        head, _, rest = text.partition(".")
        if head in self.steps and rest.startswith("best.") and rest.endswith("s"):
            named = self.steps[head].outputs
            one = rest.removesuffix("s")
            if rest not in named and one in named:
                files = [
                    file for key, file in named.items() if key == one or key.startswith(f"{one}.")
                ]
                return [Source(step=head, file=file) for file in files]
        return [self._source(text, path, case)]

    def _source(self, text: str, path: tuple[str, ...], case: Case) -> Source:
        head, dot, rest = text.partition(".")
        if dot and (head in self.faulty or text in self.faulty):
            return Source(path=text)
        if dot and head == DATA and self.data:
            return self._data(rest, path)
        if dot and head in self.steps:
            return self._output(head, rest, path)
        if not os.path.lexists(self.folder / text):
            self._check_path(text, path)
        return Source(path=self._filled(text, path, case))

    def _data(self, name: str, path: tuple[str, ...]) -> Source:
        """The path of raw data that the experiment declares."""
        if name in self.data:
            return Source(path=os.path.normpath(self.data[name].path))
        hint = f"{did_you_mean(name, self.data)} A file: ./{DATA}.{name}"
        self.problem(path, "no such raw data", value=f"{DATA}.{name}", hint=hint)
        return Source(path=f"{DATA}.{name}")

    def _check_path(self, text: str, path: tuple[str, ...]) -> None:
        """Report a path that is nothing and looks like a reference."""
        head, dot, rest = text.partition(".")
        if head in self.steps:
            known = [f"{head}.{output}" for output in outputs(self.steps[head])]
            self.problem(
                path,
                "a step, but not one of its outputs",
                value=text,
                expected=", ".join(known),
                hint=f"a file of this name is ./{text}",
            )
        near = nearest(head, self.steps) if dot and "/" not in text else None
        if near:
            known = [f"{near}.{output}" for output in outputs(self.steps[near])]
            hint = f"{did_you_mean(f'{near}.{rest}', known) or ''} A file: ./{text}".strip()
            self.problem(path, "no such step, and no such file", value=text, hint=hint)

    def _output(self, head: str, rest: str, path: tuple[str, ...]) -> Source:
        step = self.steps[head]
        if rest == "best.params" and rest not in step.outputs:
            rest = "best"  # the file that they are in
        if rest in step.outputs:
            return Source(step=head, file=step.outputs[rest])
        if rest == "metrics" and step.metrics is not None:
            return Source(step=head, file=step.metrics)
        if rest in outputs(step):
            return Source(step=head, file=f"{rest}.csv", shared=True)
        known = [f"{head}.{output}" for output in outputs(step)]
        hint = did_you_mean(f"{head}.{rest}", known) or f"a file: ./{head}.{rest}"
        if rest == "metrics":
            hint = f"give {head} `metrics: metrics.json`"
        elif rest in plan.TABLES:
            hint = f"only a step with metrics, and with matrix or replicates, has a {rest}"
        self.problem(path, f"{head} has no output {rest}", value=f"{head}.{rest}", hint=hint)
        return Source(path=f"{head}.{rest}")

    def _filled(self, text: str, path: tuple[str, ...], case: Case) -> str:
        """A path with {matrix.x} filled in."""
        for axis in re.findall(r"\{matrix\.([^{}]*)\}", text):
            if axis not in case.values:
                hint = did_you_mean(axis, case.values) or "the step has no matrix"
                self.problem(path, f"{{matrix.{axis}}} names nothing", value=text, hint=hint)
        filled = re.sub(
            r"\{matrix\.([^{}]*)\}",
            lambda found: placeholders.as_text(case.values.get(found.group(1), "")),
            text,
        )
        if re.search(r"[{}]", filled):
            self.problem(path, "only {matrix.NAME} may stand in a path", value=text)
        return filled.removeprefix("./") or filled


def _texts(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def outputs(step: Step) -> list[str]:
    """What can stand behind the dot of a reference to a step."""
    many = bool(step.matrix) or step.replicates is not None
    metrics = ["metrics"] if step.metrics is not None else []
    return [*step.outputs, *metrics, *(plan.TABLES if many and metrics else ())]


def steps_of(inputs: Mapping[str, Mapping[str, Input]]) -> Iterator[tuple[str, Source]]:
    """The name of each input that comes from a step, and where from; each once."""
    different = {id(named): named for named in inputs.values()}
    for named in different.values():
        for name, item in named.items():
            for source in item.sources:
                if source.step is not None:
                    yield name, source


def best_of(reference: str) -> tuple[str, str]:
    """The study and the step of `tune.best.params` or `tune.best.STEP.params`; "" where left out."""
    study, _, rest = reference.partition(".")
    words = rest.split(".")
    if words[0] != "best" or words[-1] != "params" or len(words) > 3:
        return "", ""
    return study, words[1] if len(words) == 3 else ""
