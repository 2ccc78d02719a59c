"""What an experiment file may say, as frozen data without I/O.

The descriptions are what a message gives as "expected", what the published JSON schema shows in
an editor, and what docs/experiment.md is checked against.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

NAME = r"^[A-Za-z][A-Za-z0-9_-]*$"
AXIS = r"^[A-Za-z][A-Za-z0-9_]*$"
_DOTTED = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
CALL = rf"^{_DOTTED}:{_DOTTED}$"

Name = Annotated[str, Field(pattern=NAME)]
AxisName = Annotated[str, Field(pattern=AXIS)]
SearchedName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z][A-Za-z0-9_-]*)?$")]
Text = Annotated[str, Field(min_length=1)]
Scalar = bool | int | float | str
AxisValues = Annotated[tuple[Scalar, ...], Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]

Seeding = Literal["full", "variables", "none"]


class Frozen(BaseModel):
    """Strict (no `"2"` for 2), closed (no unknown keys), immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Replicates(Frozen):
    """Replicates under seeds that the user chose."""

    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = Field(
        description="a list of whole numbers from 0 to 2147483647, each the seed of one replicate"
    )


class Matrix(BaseModel):
    """The axes of a step, as in GitHub's workflows: any further key is an axis with its values."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)
    __pydantic_extra__: dict[str, AxisValues]

    axes: tuple[AxisName, ...] = Field(
        (), description="a list of names of the experiment's axes, such as [method]"
    )
    include: tuple[dict[str, Scalar], ...] = Field(
        (), description="a list of mappings, each adding values to a combination, or a new one"
    )
    exclude: tuple[dict[str, Scalar], ...] = Field(
        (), description="a list of mappings, each naming the combinations to leave out"
    )


class Work(Frozen):
    """What a job does and needs: the part of a step that may differ between its cases."""

    run: Text | None = Field(
        None, description="a shell command with placeholders such as {inputs.train}"
    )
    call: Annotated[str, Field(pattern=CALL)] | None = Field(
        None, description="a Python function as module:function, such as scripts.fit:fit"
    )
    inputs: Mapping[Name, Text | tuple[Text, ...]] = Field(
        {},
        description="a mapping of names to references (step.output), paths, or lists of them",
    )
    params: Mapping[Name, Any] = Field({}, description="a mapping of parameter names to values")
    params_from: Text | None = Field(
        None, description="the best parameters of a study, such as tune.best.params"
    )
    environment: Name | None = Field(None, description="the name of a folder in envs/")
    threads: Annotated[int, Field(ge=1)] = Field(
        1, description="how many threads a job uses, a whole number from 1"
    )
    mem_mb: Annotated[int, Field(ge=1)] | None = Field(
        None, description="how much memory a job needs, in MB, a whole number from 1"
    )
    gpus: Annotated[int, Field(ge=0, le=1024)] | Annotated[float, Field(ge=0, le=1024)] = Field(
        0, description="how many GPUs a job needs, such as 1 or 0.5"
    )
    timeout: (
        Annotated[int, Field(ge=1)] | Annotated[str, Field(pattern=r"^[1-9][0-9]*[smhd]$")] | None
    ) = Field(None, description="the longest that a job may take: seconds, or 90s, 30m, 2h, 1d")
    env: tuple[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")], ...] = Field(
        (), description="a list of environment variables to pass through, never recorded"
    )
    network: bool = Field(
        default=False, description="true where a job in a container may use the network"
    )


class Step(Work):
    """One declared step; it is one job, or one for each case and replicate."""

    like: Name | None = Field(None, description="the name of the step whose keys this one takes")
    outputs: Mapping[Name, Text] = Field(
        {}, description="a mapping of names to file names; a folder's ends with /"
    )
    metrics: Text | None = Field(
        None,
        description="the name of the JSON, CSV or TSV file that the step writes its metrics to, "
        "or of DVCLive's folder, which ends with /",
    )
    retries: Annotated[int, Field(ge=0)] = Field(
        0, description="how often a failed job is tried again, a whole number from 0"
    )
    matrix: tuple[AxisName, ...] | Matrix = Field(
        (), description="a list of axes, or a mapping with axes, include, exclude"
    )
    cases: Mapping[AxisName, Mapping[str, Work]] = Field(
        {}, description="axis: {value: {keys of the step that differ for this value}}"
    )
    replicates: Annotated[int, Field(ge=1, le=10_000)] | Replicates | None = Field(
        None, description="how many replicates, from 1 to 10000, or {seeds: [0, 1, 2]}"
    )
    checkpoints: Mapping[Name, Text] = Field(
        {}, description="a mapping of names to folders (or files) kept until the job succeeds"
    )
    seed_as: Name | None = Field(
        None, description="the seed stream, where it is not the step's own name"
    )
    by_hand: bool = Field(
        default=False,
        description="true where a rule of the Snakefile does it, as the trials of a study",
    )
    seeding: Seeding = Field(
        "full", description="full, variables (no generator is seeded) or none (nothing is random)"
    )


class Bounds(Frozen):
    """What a metric has to be for a trial to count."""

    min: float | int | None = Field(None, description="the least that is allowed")
    max: float | int | None = Field(None, description="the most that is allowed")


class Stop(Frozen):
    """When a study has searched enough: both are decided by what the next trial is told."""

    no_improvement: Annotated[int, Field(ge=1)] | None = Field(
        None, description="how many trials without a better value end the study"
    )
    target: float | int | None = Field(
        None, description="the value of the objective that is good enough"
    )


class Tuning(Frozen):
    """How a study searches: the part of it that may differ between its cases."""

    space: Mapping[SearchedName, Any] | Annotated[str, Field(pattern=CALL)] = Field(
        {},
        description="a mapping of parameters to {float: [low, high]}, {int: [low, high]}, "
        "a list of choices, or a value; or a function of Optuna's trial, as module:function",
    )
    sampler: Text | Mapping[Text, Mapping[Text, Any]] = Field(
        "tpe", description="the name of a sampler, or {name: {option: value}}"
    )
    pruner: Text | Mapping[Text, Mapping[Text, Any]] | None = Field(
        None, description="the name of a pruner, or {name: {option: value}}"
    )
    trials: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None,
        description="how many trials, a whole number from 1; of a grid, all points where it is not given",
    )
    window: Annotated[int, Field(ge=1)] = Field(
        8, description="how many trials may run at once, a whole number from 1"
    )
    enqueue: tuple[Mapping[SearchedName, Any], ...] = Field(
        (), description="a list of mappings of parameters to values: what the first trials try"
    )


class Study(Tuning):
    """The search for the best parameters of a step."""

    step: Name = Field(
        description="the name of the step whose parameters are searched, and which measures"
    )
    objectives: Annotated[Mapping[Text, Literal["minimize", "maximize"]], Field(min_length=1)] = (
        Field(description="a mapping of metrics of the step to minimize or maximize")
    )
    constraints: Mapping[Text, Bounds] = Field(
        {}, description="a mapping of metrics of the step to {min: value} or {max: value}"
    )
    replicates: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        None, description="how many replicates of each trial, of which the mean counts"
    )
    matrix: tuple[AxisName, ...] | Matrix = Field(
        (), description="a list of axes, or a mapping: a study for each combination"
    )
    cases: Mapping[AxisName, Mapping[str, Tuning]] = Field(
        {}, description="axis: {value: {keys of the study that differ for this value}}"
    )
    timeout: (
        Annotated[int, Field(ge=1)] | Annotated[str, Field(pattern=r"^[1-9][0-9]*[smhd]$")] | None
    ) = Field(None, description="the longest that a trial may take: seconds, or 90s, 30m, 2h, 1d")
    max_failures: Annotated[int, Field(ge=0)] | None = Field(
        None, description="how many trials may fail, a whole number from 0"
    )
    keep: Literal["best", "all"] | Annotated[int, Field(ge=1)] = Field(
        "best", description="whose outputs are kept: best, all, or of how many of the best"
    )
    stop: Stop | None = Field(None, description="{no_improvement: trials} or {target: value}")
    remove: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (), description="a list of numbers of trials whose results do not count"
    )


class Import(Frozen):
    """A file or folder in another git or DVC repository."""

    repo: Text = Field(description="the address or path of a git repository")
    path: Text = Field(description="the path of a file or folder in it")
    rev: Text | None = Field(None, description="a tag, branch or commit of it")


class Data(Frozen):
    """Raw data: a file or folder that no step makes."""

    path: Text = Field(description="where it is in the project, such as data/raw.csv")
    source: Text | Import | None = Field(
        None,
        alias="from",
        description="where it comes from: a URL, a path, or {repo: URL, path: FILE, rev: TAG}",
    )
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}(\.dir)?$")] | None = Field(
        None, description="the MD5 of its bytes; of a folder DVC's, which ends with .dir"
    )


class Registered(Frozen):
    """A model that has a name: one output of a step or study."""

    source: Text = Field(
        alias="from",
        description="the output that it is, such as final.model or tune.best.model",
    )
    case: Mapping[AxisName, Scalar] = Field(
        {}, description="a value for each axis of the step, such as {method: forest}"
    )
    replicate: Annotated[int, Field(ge=0)] = Field(
        0, description="which of the step's replicates it is of, a whole number from 0"
    )
    description: Text | None = Field(None, description="what the model is for, as a text")
    licence: Text | None = Field(
        None, description="under which licence it may be used, such as apache-2.0"
    )


class Experiment(Frozen):
    """One experiment, after `extends`, variant, overrides and `like`."""

    name: Text = Field(description="the experiment's name")
    extends: Text | None = Field(None, description="the path of the file that this one changes")
    seed: Seed = Field(0, description="the root of every seed, a whole number from 0 to 2147483647")
    environment: Name | None = Field(None, description="the name of a folder in envs/")
    runtime: Literal["host", "docker", "apptainer", "conda", "env-modules"] = Field(
        "host",
        description="where jobs run: host; docker or apptainer, in the images of their environments; "
        "conda or env-modules, as Snakemake makes them ready",
    )
    dvc: Literal["auto", "manual"] = Field(
        "auto",
        description="auto: what a run has made goes to DVC, where there is a dvc.yaml; or manual",
    )
    params: Mapping[Name, Any] = Field({}, description="parameters shared by all steps")
    axes: Mapping[AxisName, AxisValues] = Field(
        {}, description="a mapping of axis names to lists of values"
    )
    data: Mapping[Name, Data] = Field(
        {},
        description="a mapping of names to raw data, each with path, and from: where it comes from",
    )
    steps: Mapping[Name, Step] = Field(
        {}, description="a mapping of step names to steps, each with run or call"
    )
    studies: Mapping[Name, Study] = Field(
        {}, description="a mapping of study names to studies, each with step, space and objectives"
    )
    models: Mapping[Name, Registered | Text] = Field(
        {},
        description="a mapping of names to models, each the output of a step (final.model), or "
        "{from: final.model, case, replicate, description, licence}",
    )
    variants: Mapping[Name, Mapping[str, Any]] = Field(
        {}, description="name: {dotted key: value}, such as smoke: {steps.fit.replicates: 2}"
    )


def seconds(timeout: int | str | None) -> int | None:
    """A `timeout` in seconds: 90, "90s", "30m", "2h" and "1d" are all understood."""
    if timeout is None or isinstance(timeout, int):
        return timeout
    return int(timeout[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[timeout[-1]]


def fields(path: tuple[str, ...]) -> Mapping[str, Any]:
    """The keys that a mapping at this path of an experiment may have; none where any name may."""
    model = _model(path)
    return {} if model is None else _keys(model)


def _keys(model: type[BaseModel]) -> Mapping[str, Any]:
    """The keys of a mapping as they are written: `from` is no name in Python."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def described(path: tuple[str, ...]) -> str | None:
    """What is expected at a path of an experiment: the description of the innermost known key."""
    if len(path) == 2 and path[0] == "steps":
        return "a mapping with run or call, and outputs or metrics"
    if len(path) == 2 and path[0] == "studies":
        return "a mapping with step, space, objectives and trials"
    if len(path) > 1 and path[0] == "axes":
        return "a list of values: texts, numbers, true or false" if len(path) == 2 else _VALUE
    for end in range(len(path), 0, -1):
        model = _model(path[: end - 1])
        if model is not None and path[end - 1] in (known := _keys(model)):
            return str(known[path[end - 1]].description)
        if model is Matrix:
            return "a list of values of this axis" if end == len(path) else _VALUE
    return None


_VALUE = "a text, a number, true or false"


def _model(path: tuple[str, ...]) -> type[BaseModel] | None:
    """The model of the mapping at a path."""
    if not path:
        return Experiment
    if path[0] not in _PARTS or len(path) == 1:
        return None
    whole, case = _PARTS[path[0]]
    below = path[2:]
    if not below:
        return whole
    if below[0] == "cases":
        return case if len(below) == 3 else None
    if whole is Study and below[0] == "constraints":
        return Bounds if len(below) == 2 else None
    if len(below) > 1:
        return None
    return _BELOW[whole].get(below[0])


_PARTS: Mapping[str, tuple[type[BaseModel], type[BaseModel]]] = {
    "steps": (Step, Work),
    "studies": (Study, Tuning),
    "data": (Data, Data),
    "models": (Registered, Registered),
}
_BELOW: Mapping[type[BaseModel], Mapping[str, type[BaseModel]]] = {
    Step: {"matrix": Matrix, "replicates": Replicates},
    Study: {"matrix": Matrix, "stop": Stop},
    Data: {"from": Import},
}
