"""Commands with placeholders: read, checked, and filled with values quoted for the shell.

`{inputs.x}`, `{outputs.x}`, `{params.x}`, `{matrix.x}`, `{checkpoints.x}`, `{metrics}`, `{seed}`,
`{threads}`, `{replicate}`, `{trial}`; `{{` and `}}` are braces. A value is always quoted, so a placeholder
may stand only where the shell reads a plain word (see shell.py); elsewhere the quoting would mean
something else, and that is refused.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ml_experiment import shell

GROUPS = ("inputs", "outputs", "params", "matrix", "checkpoints")
SINGLES = ("metrics", "seed", "threads", "replicate", "trial")

_TOKEN = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]")
# Paths and decimals stay readable. A bare word could be a keyword, a bare number before `>` a file
# descriptor, a bare `=` an assignment: all else is quoted.
_BARE = re.compile(r"[A-Za-z0-9_,:./-]*[./][A-Za-z0-9_,:./-]*", re.ASCII)


@dataclass(frozen=True)
class Placeholder:
    """One placeholder: a group with a name, or a single."""

    group: str
    name: str | None = None

    def __str__(self) -> str:
        return f"{{{self.group}.{self.name}}}" if self.name else f"{{{self.group}}}"


@dataclass(frozen=True)
class Template:
    """A command: literal text and placeholders, in order; and what is wrong with it."""

    parts: tuple[str | Placeholder, ...]
    problems: tuple[str, ...]

    @property
    def placeholders(self) -> tuple[Placeholder, ...]:
        """Those that stand in the command, in order."""
        return tuple(part for part in self.parts if isinstance(part, Placeholder))

    @property
    def text(self) -> str:
        """The command with a hole for each placeholder."""
        return "".join(part if isinstance(part, str) else shell.HOLE for part in self.parts)

    @property
    def words(self) -> tuple[str, ...]:
        """The command's literal words; a placeholder is a hole in one."""
        try:
            lexer = shlex.shlex(self.text, posix=True, punctuation_chars="();<>|&")
            lexer.whitespace_split = True
            lexer.commenters = ""
            return tuple(lexer)
        except ValueError:  # unbalanced quotes: bash will say so
            return tuple(self.text.split())


def parse(text: str) -> Template:
    """Read a command. Problems are gathered, not raised: the caller knows where it stands."""
    parts: list[str | Placeholder] = []
    problems: list[str] = []
    end = 0
    for match in _TOKEN.finditer(text):
        parts.append(text[end : match.start()])
        end = match.end()
        token = match.group()
        if token in ("{{", "}}"):
            parts.append(token[0])
        elif len(token) == 1:
            problems.append(f"a single {token}: write {token}{token} for a brace")
        elif text[: match.start()].endswith("$"):
            problems.append(f"${token}: write ${{{token}}} for the shell's variable")
        else:
            group, dot, name = token[1:-1].partition(".")
            if (group in GROUPS and name) or (group in SINGLES and not dot):
                parts.append(Placeholder(group, name or None))
            else:
                problems.append(_unknown(token, group))
    parts.append(text[end:])
    kept = tuple(part for part in parts if part != "")
    problems.extend(_misplaced(Template(kept, ())))
    return Template(kept, tuple(dict.fromkeys(problems)))


def _unknown(token: str, group: str) -> str:
    example = f"{{{group}.NAME}}" if group in GROUPS else "{inputs.NAME}, {params.NAME}, …"
    return f"{token} names nothing: write {example}, or {{{token}}} for braces"


def _misplaced(template: Template) -> list[str]:
    """What is wrong with the places at which the placeholders stand."""
    found = shell.scan(template.text)
    problems = []
    for placeholder, context in zip(template.placeholders, found.contexts, strict=True):
        if context == shell.PROGRAM:
            if placeholder.group in (
                "params",
                "matrix",
            ):  # the name of a builtin, such as eval, is no program
                problems.append(f"{placeholder} in {context}: write env {placeholder}")
        elif context is not None:
            problems.append(
                f"{placeholder} inside {context}: its value comes quoted; let it be a word by itself"
            )
    if found.comment:
        problems.append(
            "a comment inside run: where lines are folded it would swallow the rest of the command"
        )
    return problems


def variable(group: str, name: str | None = None) -> str:
    """The environment variable that holds a value, such as ML_EXPERIMENT_PARAMS_C."""
    text = group if name is None else f"{group}_{name}"
    return "ML_EXPERIMENT_" + re.sub(r"\W", "_", text).upper()


def as_text(value: Any) -> str:
    """One value as the text that a program gets: JSON's words, strings as they are."""
    if isinstance(value, str):
        return value
    return str(value) if type(value) is int else json.dumps(value, ensure_ascii=False)


def render(template: Template, values: Mapping[str, Any]) -> str:
    """The command, each value quoted; a list gives one word for each item.

    Raises:
        KeyError: a placeholder that `values` does not know; checked when the plan is made.
    """
    words = []
    for part in template.parts:
        if isinstance(part, str):
            words.append(part)
            continue
        value = values[part.group] if part.name is None else values[part.group][part.name]
        items = value if isinstance(value, list | tuple) else [value]
        words.append(" ".join(_quoted(as_text(item)) for item in items))
    return "".join(words)


def _quoted(text: str) -> str:
    if _BARE.fullmatch(text):
        return text
    # After some syntax errors bash goes on with the next line: a value never begins a line.
    inner = text.replace("'", "'\"'\"'").replace("\n", "'$'\\n''")
    return f"'{inner}'"
