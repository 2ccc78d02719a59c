"""`ml-experiment add`: the step that a script seems to be, put into the experiment file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ml_experiment import config, yamlio
from ml_experiment.errors import (
    MLExperimentError,
    Problem,
    UserError,
    nearest,
)
from ml_experiment.infer.insert import insertions, into_json
from ml_experiment.infer.places import RefusalError
from ml_experiment.infer.render import render_step
from ml_experiment.infer.step import FILL_ME, NAME, Proposal, infer_step, with_output
from ml_experiment.services import edit

MAX_BYTES: Final = 4 << 20  # no script is that long


@dataclass(frozen=True)
class Addition:
    """A step that is ready to be written.

    Attributes:
        proposal: the step.
        file: the experiment file; a link's target is what is written.
        old: its bytes as they were read.
        new: its bytes with the step.
        block: the step as YAML (or JSON) text, to show.
    """

    proposal: Proposal
    file: Path
    old: bytes
    new: bytes
    block: str


def propose(script: Path, experiment_file: Path, name: str | None = None) -> Addition:
    """Read a script and the experiment file, and say what would be written. Writes nothing.

    Args:
        script: the script, in the experiment file's folder or below.
        experiment_file: YAML, or JSON where its name ends so.
        name: the step's name; the script's where None.

    Raises:
        UserError: the script or the file cannot be used, or the step not be added; with the
            block to paste where only the form of the file forbids it, or where the experiment
            would not take the step.
        ExperimentError: the experiment file is not valid YAML or JSON.
    """
    where = str(experiment_file)
    folder = _folder(experiment_file)
    relative = _relative(script, folder)
    source = edit.decoded(edit.read_bytes(script, "script", MAX_BYTES), str(script))
    old = edit.read_bytes(experiment_file, "experiment file")
    text = edit.decoded(old, where)
    data = yamlio.read(text, experiment_file.name).plain()
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise UserError("not an experiment", where=where, expected="a mapping with name and steps")
    proposal = with_output(infer_step(source, relative))
    if name is not None:
        if not NAME.fullmatch(name):
            expected = "a letter, then letters, digits, - and _"
            raise UserError("not a name for a step", value=name, expected=expected)
        proposal = replace(proposal, name=name)
    names = _names(data) | _extended(text, experiment_file)
    _check_name(proposal.name, names, data, where)
    proposal = _settle_inputs(proposal, data, {*names, proposal.name}, folder)
    new = _inserted(text, proposal, data, experiment_file)
    block = _block(proposal, experiment_file)
    _check_use(proposal.name, (text, new), experiment_file, block)
    return Addition(proposal, experiment_file, old, new.encode(), block)


def write(addition: Addition) -> None:
    """Replace the experiment file, at once or not at all; its mode stays.

    Raises:
        UserError: the file has changed since, or cannot be written.
    """
    edit.replace(addition.file, addition.old, addition.new)


# -- reading ----------------------------------------------------------------------------------


def _folder(experiment_file: Path) -> Path:
    """The folder that the experiment's paths begin in: of the file itself, not of a link to it."""
    file = experiment_file.resolve() if experiment_file.is_symlink() else experiment_file
    return Path(os.path.abspath(file.parent))


def _relative(script: Path, folder: Path) -> str:
    """The script's path from the experiment's folder, links in it as they are written."""
    if script.is_dir():
        raise UserError("this is a folder", where=str(script), expected="a script")
    if not script.exists():
        raise UserError("no such script", where=str(script))
    full = Path(os.path.abspath(script))
    if not full.is_relative_to(folder):  # one of them may have been reached through a link
        folder, full = folder.resolve(), full.resolve()
    if not full.is_relative_to(folder):
        raise UserError(
            "the script is outside of the project",
            where=str(script),
            expected=f"a script in {folder}",
            hint="move it there, so that a clone has it too",
        )
    relative = full.relative_to(folder).as_posix()
    if not relative.isprintable():  # a name that is not UTF-8 is not printable either
        what = "the script's path has characters that no command shows"
        raise UserError(what, where=ascii(relative), hint="rename it")
    return relative


# -- the step among the others -----------------------------------------------------------------


def _steps(data: Mapping[str, object]) -> dict[str, object]:
    steps = data.get("steps")
    return dict(steps) if isinstance(steps, dict) else {}


def _names(data: Mapping[str, object]) -> dict[str, str]:
    """The names that references begin with, and what each is."""
    studies = data.get("studies")
    names = dict.fromkeys(studies if isinstance(studies, dict) else (), "study")
    return names | dict.fromkeys(_steps(data), "step")


def _extended(text: str, file: Path) -> dict[str, str]:
    """The steps of the files that this one extends as well, as far as they can be read."""
    try:
        places = config.load(file, text=text).places
    except MLExperimentError:
        return {}
    return {path[1]: "step" for path in places if len(path) == 2 and path[0] == "steps"}


def _check_name(
    name: str, names: Mapping[str, str], data: Mapping[str, object], where: str
) -> None:
    taken = names.get(name)
    hint = "choose another with --name NAME"
    if taken:
        raise UserError(f"there is a {taken} of this name", where=where, value=name, hint=hint)
    for step, body in _steps(data).items():
        inputs = body.get("inputs") if isinstance(body, dict) else None
        for path in _leaves(inputs):
            if path.partition(".")[0] == name and "." in path:
                what = f"the input {path} of {step} would become a reference to the new step"
                also = f"write ./{path} there, or {hint}"
                raise UserError(what, where=where, value=name, hint=also)


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(item)


def _settle_inputs(
    proposal: Proposal, data: Mapping[str, object], names: set[str], folder: Path
) -> Proposal:
    """Inputs that other steps make become references; no path may look like one."""
    made = _made(data)
    notes = list(proposal.notes)
    inputs: dict[str, str | list[str]] = {}
    for name, given in proposal.inputs.items():
        if isinstance(given, str):
            candidates = [ref for ref in made.values() if ref.endswith(f".{name}")]
            if given == FILL_ME and len(candidates) == 1:
                inputs[name] = candidates[0]
                notes = [note for note in notes if f"`inputs.{name}`" not in note]
                notes.append(f"The input {name} is taken from {candidates[0]}: check it.")
                continue
            inputs[name] = made.get(given) or _no_reference(given, names)
        else:
            inputs[name] = [made.get(path) or _no_reference(path, names) for path in given]
        for path in [given] if isinstance(given, str) else given:
            if path != FILL_ME and path not in made and not os.path.exists(folder / path):
                notes.append(f"The input {path} is not there yet.")
    return replace(proposal, inputs=inputs, notes=tuple(notes))


def _made(data: Mapping[str, object]) -> dict[str, str]:
    """What steps make, for those that are one job: path to reference."""
    found = {}
    for step, body in _steps(data).items():
        if isinstance(body, dict) and not body.get("matrix") and not body.get("replicates"):
            outputs = body.get("outputs")
            for name, file in (outputs if isinstance(outputs, dict) else {}).items():
                found[f"results/{step}/{str(file).rstrip('/')}"] = f"{step}.{name}"
    return found


def _no_reference(path: str, names: set[str]) -> str:
    """A path that is not taken for a reference, nor for a misspelt one while it is not there."""
    head, dot, _ = path.partition(".")
    near = dot and "/" not in path and nearest(head, names)
    return f"./{path}" if head in names or near else path


# -- the new text ------------------------------------------------------------------------------


def _is_json(file: Path) -> bool:
    return file.suffix == ".json"


def _block(proposal: Proposal, file: Path) -> str:
    """The step by itself, as it would stand in the file."""
    if not _is_json(file):
        return render_step(proposal, 2)
    text = into_json('{\n  "steps": {}\n}', proposal.name, proposal.data)
    return "".join(f"{line}\n" for line in text.split("\n")[2:-2])


def _inserted(text: str, proposal: Proposal, data: dict[str, object], file: Path) -> str:
    """The text with the step, read again: what it says is the old data and the step."""
    steps = {**_steps(data), proposal.name: edit.tuples(proposal.data)}
    wanted = {**data, "steps": steps}
    try:
        return edit.picked(_candidates(text, proposal, file), wanted, text, file)
    except RefusalError as refusal:
        why = refusal.why
    raise UserError(
        f"the step cannot be added to this file: {why}",
        where=str(file),
        hint=f"paste it under `steps` yourself:\n{_block(proposal, file)}",
    )


def _candidates(text: str, proposal: Proposal, file: Path) -> Iterator[str]:
    if _is_json(file):
        yield into_json(text, proposal.name, proposal.data)
    else:
        yield from insertions(text, lambda column, unit: render_step(proposal, column, unit))


# -- what the experiment says to it -------------------------------------------------------------


def _check_use(name: str, texts: tuple[str, str], file: Path, block: str) -> None:
    """The new text has no problem that the old one has not: what was wrong before may stay."""
    known, found = ({edit.identity(p): p for p in edit.problems(text, file)} for text in texts)
    new = [p for key, p in found.items() if key not in known and _is_ours(p, name)]
    if not new:
        return
    told = "; ".join(f"{p.key}: {p.what}" if p.key else p.what for p in new)
    hints = dict.fromkeys(p.hint or f"expected: {p.expected}" for p in new if p.hint or p.expected)
    hint = "; ".join([*hints, f"change the script, or paste the step and mend it there:\n{block}"])
    raise UserError(f"the step cannot be used as it is: {told}", where=str(file), hint=hint)


def _is_ours(problem: Problem, name: str) -> bool:
    """Whether a step can be the cause. Once it is there, more may be seen of what is old.

    A file without anything is no experiment, so its missing name is not told; and variants are
    looked at only where the rest is right.
    """
    key = problem.key or "steps."
    of_variant = "(in the variant " in problem.what and not key.startswith(f"steps.{name}.")
    return key.startswith("steps.") and not of_variant
