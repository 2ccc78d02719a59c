"""What a step's command is given, against what it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ml_experiment import placeholders, sources
from ml_experiment.errors import did_you_mean
from ml_experiment.model import Scalar, Step, Work
from ml_experiment.placeholders import variable
from ml_experiment.sources import Code


@dataclass(frozen=True)
class Given:
    """What a case's command is given, against what it takes."""

    step: Step
    work: Work
    params: Mapping[str, Any]
    values: Mapping[str, Scalar]
    template: placeholders.Template | None
    code: Code
    trial: bool = False  # whether it is, or may be, a trial of a study
    more: bool = False  # whether it gets parameters that nobody knows before it runs

    @property
    def groups(self) -> dict[str, Mapping[str, Any]]:
        return {
            "inputs": self.work.inputs,
            "outputs": self.step.outputs,
            "params": self.params,
            "matrix": self.values,
            "checkpoints": self.step.checkpoints,
        }

    def problems(self) -> Iterator[tuple[str, str | None]]:
        if self.template is not None:
            yield from self.of_run(self.template)
        elif self.code.signature is not None:
            yield from self.of_call(self.code.signature)

    def of_run(self, template: placeholders.Template) -> Iterator[tuple[str, str | None]]:
        for part in template.placeholders:
            known = self.groups.get(part.group)
            if self.more and part.group == "params":
                continue
            if part.name is not None and known is not None and part.name not in known:
                names = [f"{group}.{name}" for group, held in self.groups.items() for name in held]
                yield f"{part} names nothing", did_you_mean(f"{part.group}.{part.name}", names)
            elif part.group == "metrics" and self.step.metrics is None:
                yield "{metrics} names nothing", "give the step `metrics: metrics.json`"
            elif part.group == "trial" and not self.trial:
                yield "{trial} names nothing: only a trial of a study has a number", None
            elif part.group == "seed" and self.step.seeding == "none":
                yield "{seed} in a step that declares `seeding: none`", "remove one of them"
        used = {part.name for part in template.placeholders if part.group == "inputs"}
        for name in self.work.inputs:
            if name not in used and variable("inputs", name) not in self.code.variables:
                yield (
                    f"the input {name} is not used",
                    f"write {{inputs.{name}}} in run, or read {variable('inputs', name)} in the script",
                )

    def of_call(self, signature: sources.Signature) -> Iterator[tuple[str, str | None]]:
        groups = {*placeholders.GROUPS, *placeholders.SINGLES} - (
            {"trial"} if not self.trial else set()
        )
        held = [name for group in self.groups.values() for name in group]
        for name in sorted({*held} & {*signature.names}):
            if held.count(name) + (name in groups) > 1:
                hint = "rename the input, output or parameter"
                yield f"the function's {name} could be more than one thing", hint
        if "seed" in signature.required and self.step.seeding == "none":
            yield (
                "the function wants a seed, and the step has `seeding: none`",
                "remove one of them",
            )
        for name in signature.names:
            if self.more:
                continue
            if name in signature.required and name not in groups and name not in held:
                yield f"nothing gives the function's parameter {name}", did_you_mean(name, held)
        for name in self.work.inputs:
            if (
                name not in signature.names
                and "inputs" not in signature.names
                and (variable("inputs", name) not in self.code.variables)
            ):
                yield (
                    f"the input {name} is not used",
                    f"give the function a parameter {name} or inputs",
                )
        for name in self.work.params:
            if (
                name not in signature.names
                and "params" not in signature.names
                and not signature.rest
            ):
                yield f"the function takes no parameter {name}", did_you_mean(name, signature.names)


def reaches(param: str, template: placeholders.Template | None, code: Code) -> bool:
    """Whether a shared parameter is named by a command, so that its value is part of the key."""
    if variable("params", param) in code.variables:
        return True
    if template is not None:
        return placeholders.Placeholder("params", param) in template.placeholders
    signature = code.signature
    return signature is None or signature.rest or bool({param, "params"} & {*signature.names})
