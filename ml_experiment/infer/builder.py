"""Puts a step together from a script's arguments and files."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Final

from ml_experiment.infer.arguments import NOTHING, Argument, CommandLine
from ml_experiment.infer.files import FOLDER, READ, WRITE, Use, metric_like, uses
from ml_experiment.infer.roles import Role, extension, role
from ml_experiment.infer.source import Source
from ml_experiment.infer.values import ENVIRONMENT, UNKNOWN, value

FILL_ME: Final = "FILL_ME"
_NOT_DATA: Final = ("/dev/", "/proc/", "/tmp/", "/sys/")  # noqa: S108  (names, not opened)
_AFFIX: Final = re.compile(r"^(?:output|out|save|in|input)_(?=\w)|_(?:out|path|file|output|dir)$")
_VAGUE: Final = ("dir", "file", "path", "folder", "name")
_METRICS_FILE: Final = "metrics.json"


class Builder:
    """Gathers the parts of a step; `build` fills the attributes."""

    def __init__(self, source: Source, line: CommandLine) -> None:
        self.source = source
        self.line = line
        self.guards: list[str] = []  # what stands in `run` before the command
        self.words: list[str] = []
        self.inputs: dict[str, str | list[str]] = {}
        self.outputs: dict[str, str] = {}
        self.params: dict[str, object] = {}
        self.metrics: str | None = None
        self.notes: list[str] = list(line.notes)
        self.uses = uses(source)
        self.left: dict[str, list[str]] = {}  # reason -> arguments left at their default

    def build(self) -> None:
        """Fill every attribute. Call it once."""
        if self.line.command:
            self.words.append(self.line.command)
        names = self._names()
        first = [a for a in self.line.arguments if a.option is None]
        for argument in [*first, *(a for a in self.line.arguments if a.option is not None)]:
            found = role(argument, self._of(argument))
            self._add(argument, found, names[argument.key])
        for reason, arguments in self.left.items():
            self.notes.append(f"Left at default ({reason}): {', '.join(arguments)}.")
        self._add_environment()
        self._add_literals()
        self._note_unknown()
        if self.line.framework == "constants":
            self._note_constants()

    # -- arguments --------------------------------------------------------------------------

    def _of(self, argument: Argument) -> list[Use]:
        wanted = ("argument", argument.key)
        return [u for u in self.uses if u.origin and (u.origin.kind, u.origin.name) == wanted]

    def _names(self) -> dict[str, str]:
        """A valid name for each argument, shortened where that keeps names apart."""
        plain = {a.key: valid(a.key) for a in self.line.arguments}
        short = {
            a.key: _AFFIX.sub("", plain[a.key])
            if role(a, self._of(a)).name in ("input", "output")
            else plain[a.key]
            for a in self.line.arguments
        }
        shorts = list(short.values())
        names: dict[str, str] = {}
        for key, name in short.items():
            clear = name and name not in _VAGUE and shorts.count(name) == 1
            chosen = name if clear else plain[key]
            names[key] = free(chosen, names.values())
        return names

    def _add(self, argument: Argument, found: Role, name: str) -> None:
        if found.name in ("input", "output", "metrics") and found.guess:
            article = {"input": "an input", "output": "an output"}.get(found.name, "the metrics")
            self.notes.append(f"{argument.shown} is taken for {article} ({found.guess}): check it.")
        if argument.literal is not None:
            self._add_switch(argument)
        elif found.name == "seed":
            self._word(argument, "{seed}")
        elif found.name == "threads":
            self._word(argument, "{threads}")
            if isinstance(argument.default, int) and argument.default not in (-1, 0, 1):
                self.notes.append(
                    f"{argument.shown} was {argument.default}, and now is the step's `threads`, "
                    f"which is 1 unless you write `threads: {argument.default}`."
                )
        elif found.name == "metrics" and self.metrics is None:
            self.metrics = file_name(argument.default, "") or _METRICS_FILE
            self._word(argument, "{metrics}")
        elif found.name in ("output", "metrics"):
            self._add_output(argument, found, name)
        elif found.name == "input":
            self._add_input(argument, name)
        else:
            self._add_param(argument, name)

    def _word(self, argument: Argument, placeholder: str, value: object = None) -> None:
        """Put an argument into the command; after a dash a value needs `=`."""
        option = argument.option
        dash = str(value).startswith("-") and not re.fullmatch(r"-\d+(\.\d+)?", str(value))
        if option is None:
            self.words.append(placeholder)
        elif option.endswith("="):
            self.words.append(option + placeholder)
        elif dash and option.startswith("--"):
            self.words.append(f"{option}={placeholder}")
        else:
            self.words += [option, placeholder]

    def _leave(self, argument: Argument, reason: str) -> None:
        self.left.setdefault(reason, []).append(argument.shown)

    def _add_switch(self, argument: Argument) -> None:
        if argument.literal:
            self.words.append(argument.literal)
            self.notes.append(
                f"{argument.literal} is a switch, which cannot be a parameter: it is written out."
            )
        else:
            self._leave(argument, argument.note or "it takes no value")

    def _add_output(self, argument: Argument, found: Role, name: str) -> None:
        if argument.many:
            return self._leave(argument, "an output is one file or folder")
        folder = found.folder or str(argument.default).endswith("/")
        suffix = "" if folder else extension(self._of(argument))
        file = file_name(argument.default, suffix) or name + suffix
        self.outputs[name] = free(file, self.outputs.values()) + ("/" if folder else "")
        return self._word(argument, f"{{outputs.{name}}}")

    def _add_input(self, argument: Argument, name: str) -> None:
        default = argument.default
        if default in (None, NOTHING, "", []) or default is UNKNOWN:
            if not argument.required:
                return self._leave(argument, "no path is known")
            self.notes.append(f"{argument.shown} has no default: fill in `inputs.{name}`.")
            default = FILL_ME
        if isinstance(default, list):
            self.inputs[name] = [path_text(str(item)) for item in default]
        else:
            self.inputs[name] = path_text(str(default))
        return self._word(argument, f"{{inputs.{name}}}")

    def _add_param(self, argument: Argument, name: str) -> None:
        default = argument.default
        if argument.required and default in (None, NOTHING):
            self.notes.append(f"{argument.shown} has no default: fill in `params.{name}`.")
            default = FILL_ME
        elif default is UNKNOWN:
            return self._leave(argument, "which is computed")
        elif default in (None, NOTHING):
            return self._leave(argument, "which is None")
        elif default == []:
            return self._leave(argument, "which is an empty list")
        if isinstance(default, list) and not argument.many:
            return self._leave(argument, "a list in a form of its own")
        if isinstance(default, bool):
            default = str(default)  # as Python writes it; functions that read booleans know it
            self.notes.append(
                f"{argument.shown} is read by {argument.type or 'the script'} from a word: check "
                f"that it understands {default}."
            )
        self.params[name] = default
        return self._word(argument, f"{{params.{name}}}", default)

    # -- files that the script names itself ----------------------------------------------------

    def _add_environment(self) -> None:
        """What the script reads from the variables that a job gets."""
        defaults = {}
        for call, scope in self.source.calls():
            if self.source.dotted(call.func) in ENVIRONMENT and call.args:
                name = value(self.source, call.args[0], scope)
                defaults[name] = value(self.source, call, scope)
        for use in self.uses:
            if use.origin is None or use.origin.kind != "environment":
                continue
            default = defaults.get(use.origin.name, UNKNOWN)
            group, _, rest = use.origin.name.removeprefix("ML_EXPERIMENT_").partition("_")
            name = valid(rest.lower())
            if group == "METRICS" and self.metrics is None:
                self.metrics = file_name(default, "") or _METRICS_FILE
            elif group == "OUTPUTS" and rest and name not in self.outputs:
                writes = [u for u in self.uses if u.origin and u.origin.name == use.origin.name]
                folder = any(u.kind == FOLDER or (u.origin and u.origin.inside) for u in writes)
                file = file_name(default, "") or name + extension(writes)
                self.outputs[name] = free(file, self.outputs.values()) + ("/" if folder else "")
            elif group == "INPUTS" and rest and name not in self.inputs:
                known = default is not UNKNOWN and default is not None
                self.inputs[name] = path_text(str(default)) if known else FILL_ME
                if not known:
                    self.notes.append(f"Fill in `inputs.{name}`, which line {use.line} reads.")
            elif group == "PARAMS" and rest and name not in self.params:
                known = default is not UNKNOWN and default is not None
                self.params[name] = number(default) if known else FILL_ME
                if not known:
                    self.notes.append(f"Fill in `params.{name}`, which line {use.line} reads.")

    def _add_literals(self) -> None:
        """Files whose paths stand in the script: nothing can be passed for them."""
        by_path: dict[str, list[Use]] = {}
        for use in self.uses:
            if use.origin and use.origin.kind == "literal" and is_data(use.origin.name):
                by_path.setdefault(path_text(use.origin.name), []).append(use)
        written = [path for path, found in by_path.items() if any(u.kind == WRITE for u in found)]
        for path, found in by_path.items():
            kinds = {use.kind for use in found}
            sure = [use for use in found if use.sure]
            inside = any(other.startswith(path.rstrip("/") + "/") for other in written)
            if WRITE in kinds or (FOLDER in kinds and not inside):
                self._literal_output(path, [u for u in found if u.kind != READ])
            elif READ in kinds and sure and not inside:
                self._literal_input(path, sure[0])

    def _literal_input(self, path: str, use: Use) -> None:
        name = self._literal_name(path)
        self.inputs[name] = path
        self.guards += [f"test -r {{inputs.{name}}}", "&&"]
        self.notes.append(
            f"Line {use.line} reads {path}, whatever the experiment says. `test -r` in `run` makes "
            f'it an input; better have the script read os.environ["{variable("INPUTS", name)}"].'
        )

    def _literal_output(self, path: str, found: Sequence[Use]) -> None:
        first = found[0]
        name = self._literal_name(path)
        metrics = any(use.metrics for use in found) or metric_like(PurePosixPath(path).name)
        file = PurePosixPath(path).name
        if metrics and self.metrics is None and file.endswith(".json"):
            self.metrics = file
            variable = "ML_EXPERIMENT_METRICS"
        else:
            folder = "/" if all(use.kind == FOLDER for use in found) else ""
            self.outputs[name] = free(file, self.outputs.values()) + folder
            variable = variable("OUTPUTS", name)
        self.notes.append(
            f"Line {first.line} writes to {path}, a fixed path outside of results/, so the step "
            f'will fail: change it there to os.environ["{variable}"].'
        )

    def _literal_name(self, path: str) -> str:
        taken = [*self.inputs, *self.outputs, *self.params]
        return free(valid(PurePosixPath(path).name.split(".")[0]), taken)

    def _note_unknown(self) -> None:
        """Files that are written to paths that only running the script would tell."""
        unknown = [use for use in self.uses if use.origin is None and use.kind == WRITE]
        for use in unknown[:3]:
            self.notes.append(
                f"Line {use.line} writes a file ({use.call.replace('?.', '')}) whose path could "
                "not be read: see that it goes to an output."
            )

    def _note_constants(self) -> None:
        found = [
            target.id
            for node in self.source.tree.body
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name) and target.id.isupper()
            if isinstance(value(self.source, node.value, self.source.module), (int, float))
        ]
        if found:
            some = found[0]
            self.notes.append(
                f"The script has no command line, so {', '.join(found)} cannot be set from the "
                f"experiment. To tune {some}, read os.environ["
                f'"{variable("PARAMS", some.lower())}"] and add it to `params`.'
            )
