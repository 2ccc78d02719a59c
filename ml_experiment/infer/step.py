"""A step for an experiment, from a script that knows nothing of experiments.

The script is read, never run. What is found is a proposal: a sentence in `notes` for each thing
that was guessed, left out or has to be filled in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Final

from ml_experiment.errors import Place, UserError
from ml_experiment.infer.builder import FILL_ME, Builder
from ml_experiment.infer.frameworks import read_command_line
from ml_experiment.infer.names import literal
from ml_experiment.infer.source import Source

_PRINTED: Final = "printed"
NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_INTERPRETERS: Final = {
    ".r": "Rscript",
    ".sh": "bash",
    ".bash": "bash",
    ".zsh": "zsh",
    ".jl": "julia",
    ".pl": "perl",
    ".rb": "ruby",
    ".js": "node",
    ".mjs": "node",
    ".lua": "lua",
}


@dataclass(frozen=True)
class Proposal:
    """The step that a script seems to be.

    Attributes:
        name: a valid name for the step, from the file's name.
        run: the command, with placeholders.
        inputs: name to path, or to a list of paths.
        outputs: name to file name; a folder's ends with a slash.
        params: name to value.
        metrics: the file name of the metrics, or None.
        notes: what was not certain, a sentence each.
        framework: how the script reads its command line: `argparse`, `click`, `typer`, `fire`,
            `absl`, `hydra`, `sys.argv`, `constants` (not at all), or the name of another way;
            the interpreter where it is not Python.
    """

    name: str
    run: str
    inputs: Mapping[str, str | list[str]] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, object] = field(default_factory=dict)
    metrics: str | None = None
    notes: tuple[str, ...] = ()
    framework: str = "constants"

    @property
    def data(self) -> dict[str, object]:
        """The step as it stands in the experiment file, its keys in order."""
        parts = {
            "run": self.run,
            "inputs": dict(self.inputs),
            "outputs": dict(self.outputs),
            "params": dict(self.params),
            "metrics": self.metrics,
        }
        return {key: part for key, part in parts.items() if part}


def infer_step(source: str, script: str) -> Proposal:
    """Read a script's text and propose the step that runs it.

    Args:
        source: the text of the script.
        script: its path relative to the experiment file, with forward slashes.

    Raises:
        UserError: the Python file has a syntax error, with its line.
    """
    path = PurePosixPath(script)
    interpreter = _interpreter(source, path)
    if not interpreter.startswith("python"):
        return _foreign(path, interpreter)
    try:
        read = Source(source.removeprefix("\ufeff"), script)
        line = read_command_line(read)
        builder = Builder(read, line)
        builder.build()
    except SyntaxError as error:
        hint = None
        if (error.text or "").lstrip().startswith(("%", "!")):
            hint = "remove the notebook commands that begin with % or !"
        elif re.match(r"\s*print\s+[\"'\w]", error.text or ""):
            hint = "this looks like Python 2"
        place = Place(script, error.lineno)
        raise UserError(f"not valid Python: {error.msg}", where=place, hint=hint) from None
    except (ValueError, RecursionError, MemoryError) as error:
        what = "it is nested too deeply" if not isinstance(error, ValueError) else str(error)
        raise UserError(f"not valid Python: {what}", where=script) from None
    return Proposal(
        name=step_name(script),
        run=" ".join([*builder.guards, _command(read, path), *builder.words]),
        inputs=builder.inputs,
        outputs=builder.outputs,
        params=builder.params,
        metrics=builder.metrics,
        notes=tuple(dict.fromkeys(builder.notes)),
        framework=line.framework,
    )


def step_name(script: str) -> str:
    """A valid step name from a file's name: `01 train.py` gives `train`."""
    stem = PurePosixPath(script).name
    stem = stem[: -len(PurePosixPath(stem).suffix)] if PurePosixPath(stem).suffix else stem
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", stem)
    name = re.sub(r"^[^A-Za-z]+", "", name).rstrip("_-")
    return "step" if name in ("", "all") else name  # the rule `all` is the whole experiment


def with_output(proposal: Proposal) -> Proposal:
    """A step has to write something: where nothing is known, what it prints is kept."""
    if proposal.outputs or proposal.metrics is not None:
        return proposal
    note = (
        "No file that the script writes could be seen, so what it prints is kept as the output "
        f"{_PRINTED}: remove that, and the `| tee`, once the step has another."
    )
    return replace(
        proposal,
        run=f"{proposal.run} | tee {{outputs.{_PRINTED}}}",
        outputs={_PRINTED: f"{_PRINTED}.txt"},
        notes=(*proposal.notes, note),
    )


def _command(source: Source, path: PurePosixPath) -> str:
    if source.is_package_module and len(path.parts) > 1:
        return f"python -m {literal('.'.join(path.with_suffix('').parts))}"
    return f"python {literal(str(path))}"


def _interpreter(source: str, path: PurePosixPath) -> str:
    """What runs a file: its first line, else its extension, else nothing."""
    first = source.removeprefix("\ufeff").split("\n", 1)[0].strip()
    suffix = path.suffix.lower()
    if suffix in (".py", ".pyw"):
        return "python"
    if first.startswith("#!"):
        words = first[2:].split()
        words = [word for word in words if word != "-S"]
        if words and words[0].endswith("/env"):
            words = words[1:]
        while words and "=" in words[0]:
            words = words[1:]
        if words:
            return " ".join([PurePosixPath(words[0]).name, *words[1:]])
    return _INTERPRETERS.get(suffix, "")


def _foreign(path: PurePosixPath, interpreter: str) -> Proposal:
    """A step for a program in another language: only how to start it."""
    script = literal(str(path))
    notes = [
        (
            f"The arguments of {path.name} could not be read (only Python is): add them to `run`, as "
            "{inputs.NAME}, {outputs.NAME} and {params.NAME}."
        )
    ]
    run = f"{interpreter} {script}"
    if path.suffix.lower() == ".ipynb":
        run = f"jupyter nbconvert --to notebook --execute --inplace {script}"
        notes.append("A notebook changes itself when it runs: better export it as a script first.")
    elif not interpreter:
        run = script if "/" in str(path) else f"./{script}"
        notes.append(f"Nothing says what runs {path.name}, so it must be executable itself.")
    return Proposal(
        name=step_name(str(path)),
        run=run,
        notes=tuple(notes),
        framework=interpreter.split(" ", maxsplit=1)[0] or "unknown",
    )


__all__ = ["FILL_ME", "NAME", "Proposal", "infer_step", "step_name", "with_output"]
