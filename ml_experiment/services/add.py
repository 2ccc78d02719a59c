"""`ml-experiment add`: the step that a script seems to be, put into the experiment file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import yaml

from ml_experiment import yamlio
from ml_experiment.errors import MLExperimentError, Place, UserError
from ml_experiment.infer.insert import RefusalError, insertions, into_json
from ml_experiment.infer.render import render_step
from ml_experiment.infer.step import FILL_ME, NAME, Proposal, infer_step

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
            block to paste where only the form of the file forbids it.
        ExperimentError: the experiment file is not valid YAML or JSON.
    """
    where = str(experiment_file)
    relative = _relative(script, experiment_file)
    source = _text(_bytes(script, "script", MAX_BYTES), str(script))
    old = _bytes(experiment_file, "experiment file", None)
    text = _text(old, where)
    data = yamlio.read(text, experiment_file.name).plain()
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise UserError("not an experiment", where=where, expected="a mapping with name and steps")
    proposal = infer_step(source, relative)
    if name is not None:
        if not NAME.fullmatch(name):
            expected = "a letter, then letters, digits, - and _"
            raise UserError("not a name for a step", value=name, expected=expected)
        proposal = replace(proposal, name=name)
    _check_name(proposal.name, data, where)
    proposal = _settle_inputs(proposal, data, experiment_file.parent)
    new = _inserted(text, proposal, data, experiment_file)
    block = _json_block(proposal) if _is_json(experiment_file) else render_step(proposal, 2)
    return Addition(proposal, experiment_file, old, new.encode(), block)


def write(addition: Addition) -> None:
    """Replace the experiment file, at once or not at all; its mode stays.

    Raises:
        UserError: the file has changed since, or cannot be written.
    """
    target = Path(os.path.realpath(addition.file))
    where = str(addition.file)
    temporary: str | None = None
    try:
        if target.read_bytes() != addition.old:
            raise UserError("the file has changed meanwhile", where=where, hint="try again")
        mode = target.stat().st_mode & 0o7777
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:100]}.")
        with os.fdopen(handle, "wb") as file:
            file.write(addition.new)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, target)
        temporary = None
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror or error}", where=where) from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


# -- reading ----------------------------------------------------------------------------------


def _relative(script: Path, experiment_file: Path) -> str:
    """The script's path from the experiment file's folder, links in it as they are written."""
    if script.is_dir():
        raise UserError("this is a folder", where=str(script), expected="a script")
    if not script.exists():
        raise UserError("no such script", where=str(script))
    folder = Path(os.path.abspath(experiment_file.parent))
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
    return full.relative_to(folder).as_posix()


def _bytes(path: Path, what: str, limit: int | None) -> bytes:
    try:
        if limit is not None and path.stat().st_size > limit:
            raise UserError("too large for a script", where=str(path))
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"no such {what}", where=str(path)) from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror or error}", where=str(path)) from None


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(
            "not UTF-8 text", where=Place(where, line), hint="save it as UTF-8"
        ) from None


# -- the step among the others -----------------------------------------------------------------


def _steps(data: Mapping[str, object]) -> dict[str, object]:
    steps = data.get("steps")
    return dict(steps) if isinstance(steps, dict) else {}


def _names(data: Mapping[str, object]) -> dict[str, str]:
    """The names that references begin with, and what each is."""
    studies = data.get("studies")
    names = dict.fromkeys(studies if isinstance(studies, dict) else (), "study")
    return names | dict.fromkeys(_steps(data), "step")


def _check_name(name: str, data: Mapping[str, object], where: str) -> None:
    taken = _names(data).get(name)
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


def _settle_inputs(proposal: Proposal, data: Mapping[str, object], folder: Path) -> Proposal:
    """Inputs that other steps make become references; no path may look like one."""
    made = _made(data)
    names = {*_names(data), proposal.name}
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
            if given != FILL_ME and given not in made and not (folder / given).exists():
                notes.append(f"The input {given} is not there yet.")
        else:
            inputs[name] = [made.get(path) or _no_reference(path, names) for path in given]
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
    return f"./{path}" if path.partition(".")[0] in names else path


# -- the new text ------------------------------------------------------------------------------


def _is_json(file: Path) -> bool:
    return file.suffix == ".json"


def _json_block(proposal: Proposal) -> str:
    text = into_json('{\n  "steps": {}\n}', proposal.name, proposal.data)
    return "".join(f"{line}\n" for line in text.split("\n")[2:-2])


def _inserted(text: str, proposal: Proposal, data: dict[str, object], file: Path) -> str:
    """The text with the step, read again: what it says is the old data and the step."""
    steps = {**_steps(data), proposal.name: _tuples(proposal.data)}
    wanted = {**data, "steps": steps}
    try:
        for new in _candidates(text, proposal, file):
            if _same(_read(new, file), wanted):
                return new
        why = "wherever it is put, the rest of the file would say something else"
        if not text.endswith("\n"):
            why = "its last line, which does not end, would change: end it with a newline first"
    except RefusalError as refusal:
        why = refusal.why
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        why = f"it could not be understood ({str(error).splitlines()[0]})"
    block = _json_block(proposal) if _is_json(file) else render_step(proposal, 2)
    raise UserError(
        f"the step cannot be added to this file: {why}",
        where=str(file),
        hint=f"paste it under `steps` yourself:\n{block}",
    )


def _candidates(text: str, proposal: Proposal, file: Path) -> Iterator[str]:
    if _is_json(file):
        yield into_json(text, proposal.name, proposal.data)
    else:
        yield from insertions(text, lambda column, unit: render_step(proposal, column, unit))


def _read(text: str, file: Path) -> object:
    try:
        return yamlio.read(text, file.name).plain()
    except (MLExperimentError, ValueError, RecursionError):  # not the text to write
        return None


def _tuples(value: object) -> object:
    """Lists as tuples, as `yamlio` reads them."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(_tuples(item) for item in value)
    return value


def _same(one: object, other: object) -> bool:
    """Equal, in type and in the order of keys too; one NaN equals another."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and repr(one) == repr(other)
