"""Puts a step together from a script's arguments and files."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Final

from ml_experiment.infer.arguments import NOTHING, Argument, CommandLine, plain
from ml_experiment.infer.files import FOLDER, READ, WRITE, Use, metrics_rank, uses
from ml_experiment.infer.names import (
    allowed,
    file_name,
    free,
    is_data,
    literal,
    number,
    path_text,
    valid,
)
from ml_experiment.infer.roles import Role, extension, role
from ml_experiment.infer.source import Source
from ml_experiment.infer.values import ENVIRONMENT, UNKNOWN, value
from ml_experiment.placeholders import variable

FILL_ME: Final = "FILL_ME"
_AFFIX: Final = re.compile(r"^(?:output|out|save|in|input)_(?=\w)|_(?:out|path|file|output|dir)$")
_VAGUE: Final = ("dir", "file", "path", "folder", "name")
_METRICS_FILE: Final = "metrics.json"
_METRICS_VARIABLE: Final = variable("metrics")


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
        self.roles = {a.key: role(a, self._of(a)) for a in line.arguments}
        self.left: dict[str, list[str]] = {}  # reason -> arguments left at their default

    def build(self) -> None:
        """Fill every attribute. Call it once."""
        if self.line.command:
            self.words.append(literal(self.line.command))
        self._choose_metrics()
        names = self._names()
        first = [a for a in self.line.arguments if a.option is None]
        for argument in [*first, *(a for a in self.line.arguments if a.option is not None)]:
            self._add(argument, self.roles[argument.key], names[argument.key])
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

    def _choose_metrics(self) -> None:
        """A step has one file of metrics: of several candidates the clearest; the rest are outputs."""
        held = [a for a in self.line.arguments if self.roles[a.key].name == "metrics"]
        best = max(held, key=self._metrics_rank, default=None)
        variables = [
            u.origin.name for u in self.uses if u.origin and u.origin.kind == "environment"
        ]
        if best and "metric" not in best.key.lower() and _METRICS_VARIABLE in variables:
            best = None  # the script says itself which file it is
        for argument in held:
            if argument is not best:
                self.roles[argument.key] = replace(self.roles[argument.key], name="output")
        if best:
            self.metrics = file_name(best.default, "") or _METRICS_FILE

    def _metrics_rank(self, argument: Argument) -> int:
        default = argument.default if isinstance(argument.default, str) else ""
        return metrics_rank(argument.key, default, self._of(argument))

    def _names(self) -> dict[str, str]:
        """A valid name for each argument, shortened where that keeps names apart."""
        whole = {a.key: valid(a.key) for a in self.line.arguments}
        short = {
            key: _AFFIX.sub("", name) if self.roles[key].name in ("input", "output") else name
            for key, name in whole.items()
        }
        shorts = list(short.values())
        names: dict[str, str] = {}
        for key, name in short.items():
            clear = name and name not in _VAGUE and shorts.count(name) == 1
            chosen = name if clear else whole[key]
            if self.roles[key].name == "output":
                chosen = allowed(chosen, folder=self.roles[key].folder)
            names[key] = free(chosen, names.values())
        return names

    def _free_file(self, name: str) -> str:
        """A name that no other output has; the metrics stand in the same folder."""
        return free(name, [*self.outputs.values(), *([self.metrics] if self.metrics else [])])

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
        elif found.name == "metrics":
            self._word(argument, "{metrics}")
        elif found.name == "output":
            self._add_output(argument, found, name)
        elif found.name == "input":
            self._add_input(argument, name)
        else:
            self._add_param(argument, name)

    def _word(self, argument: Argument, placeholder: str, value: object = None) -> None:
        """Put an argument into the command; after a dash a value needs `=`."""
        option = None if argument.option is None else literal(argument.option)
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
            self.words.append(literal(argument.literal))
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
        self.outputs[name] = self._free_file(file) + ("/" if folder else "")
        return self._word(argument, f"{{outputs.{name}}}")

    def _add_input(self, argument: Argument, name: str) -> None:
        default = argument.default
        if default in (None, NOTHING, "", []) or default is UNKNOWN:
            if not argument.required:
                return self._leave(argument, "no path is known")
            self.notes.append(f"{argument.shown} has no default: fill in `inputs.{name}`.")
            default = FILL_ME
        paths = [str(item) for item in default] if isinstance(default, list) else [str(default)]
        if not all(paths):
            return self._leave(argument, "one of its paths is empty")
        if re.search(r"[{}]", "".join(paths)):  # a pattern: in a path braces mean the matrix
            return self._add_param(argument, name)
        paths = [path_text(path) for path in paths]
        self.inputs[name] = paths if isinstance(default, list) else paths[0]
        return self._word(argument, f"{{inputs.{name}}}")

    def _add_param(self, argument: Argument, name: str) -> None:
        default = argument.default
        if argument.required and default in (None, NOTHING):
            self.notes.append(f"{argument.shown} has no default: fill in `params.{name}`.")
            default = FILL_ME
        elif default is UNKNOWN:
            return self._leave(argument, "which only the script can say")
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
                defaults[name] = plain(value(self.source, call, scope))
        for use in self.uses:
            if use.origin is None or use.origin.kind != "environment":
                continue
            default = defaults.get(use.origin.name, UNKNOWN)
            group, _, rest = use.origin.name.removeprefix("ML_EXPERIMENT_").partition("_")
            name = valid(rest.lower())  # as the variable of this name says
            if use.origin.name == _METRICS_VARIABLE and self.metrics is None:
                self.metrics = free(file_name(default, "") or _METRICS_FILE, self.outputs.values())
            elif group == "OUTPUTS" and rest and name not in self.outputs:
                writes = [u for u in self.uses if u.origin and u.origin.name == use.origin.name]
                folder = any(u.kind == FOLDER or (u.origin and u.origin.inside) for u in writes)
                file = file_name(default, "") or name + extension(writes)
                self.outputs[name] = self._free_file(file) + ("/" if folder else "")
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
        metrics = self._literal_metrics(by_path)
        for path, found in by_path.items():
            kinds = {use.kind for use in found}
            sure = [use for use in found if use.sure]
            inside = any(other.startswith(path.rstrip("/") + "/") for other in written)
            if WRITE in kinds or (FOLDER in kinds and not inside):
                made = [use for use in found if use.kind != READ]
                self._literal_output(path, made, metrics=path == metrics)
            elif READ in kinds and sure and not inside:
                self._literal_input(path, sure[0])

    def _literal_metrics(self, by_path: Mapping[str, Sequence[Use]]) -> str | None:
        """The path to which the metrics are written, where nothing else holds them."""
        if self.metrics is not None:
            return None
        ranks = {
            path: metrics_rank("", path, found)
            for path, found in by_path.items()
            if path.endswith(".json") and any(use.kind == WRITE for use in found)
        }
        best = max(ranks, key=lambda path: ranks[path], default=None)
        return best if best and ranks[best] else None

    def _literal_input(self, path: str, use: Use) -> None:
        if re.search(r"[{}]", path):
            self.notes.append(
                f"Line {use.line} reads {path}, which no input can be: it has braces."
            )
            return
        name = self._literal_name(path)
        self.inputs[name] = path
        self.guards += [f"test -r {{inputs.{name}}}", "&&"]
        self.notes.append(
            f"Line {use.line} reads {path}, whatever the experiment says. `test -r` in `run` makes "
            f'it an input; better have the script read os.environ["{variable("inputs", name)}"].'
        )

    def _literal_output(self, path: str, found: Sequence[Use], *, metrics: bool) -> None:
        folder = all(use.kind == FOLDER for use in found)
        name = allowed(self._literal_name(path), folder=folder)
        file = file_name(path, "") or name
        if metrics:
            self.metrics = free(file, self.outputs.values())
        else:
            self.outputs[name] = self._free_file(file) + ("/" if folder else "")
        instead = _METRICS_VARIABLE if metrics else variable("outputs", name)
        self.notes.append(
            f"Line {found[0].line} writes to {path}, a fixed path and not the job's own, so the "
            f'step will fail: change it there to os.environ["{instead}"].'
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
                f'"{variable("params", some.lower())}"] and add it to `params`.'
            )
