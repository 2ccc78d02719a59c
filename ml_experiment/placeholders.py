"""Commands with placeholders: read, checked, and filled with values quoted for the shell.

`{inputs.x}`, `{outputs.x}`, `{params.x}`, `{matrix.x}`, `{checkpoints.x}`, `{metrics}`, `{seed}`,
`{threads}`, `{replicate}`; `{{` and `}}` are braces. A value is always quoted, so a placeholder
may stand only where the shell reads a plain word: inside quotes, backticks, arithmetic or a
here-document the quoting would mean something else, and that is refused.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GROUPS = ("inputs", "outputs", "params", "matrix", "checkpoints")
SINGLES = ("metrics", "seed", "threads", "replicate")

_TOKEN = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]")
_HEREDOC = re.compile(r"<<-?\s*[\\'\"]?\w")


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
    def words(self) -> tuple[str, ...]:
        """The command's literal words; a word that holds a placeholder has it as `\\0`."""
        text = "".join(part if isinstance(part, str) else "\0" for part in self.parts)
        try:
            lexer = shlex.shlex(text, posix=True, punctuation_chars="();<>|&")
            lexer.whitespace_split = True
            lexer.commenters = ""
            return tuple(lexer)
        except ValueError:  # unbalanced quotes: bash will say so
            return tuple(text.split())


def parse(text: str) -> Template:
    """Read a command. Problems are gathered, not raised: the caller knows where it stands."""
    parts: list[str | Placeholder] = []
    problems: list[str] = []
    shell = _Shell()
    end = 0
    for match in _TOKEN.finditer(text):
        literal = text[end : match.start()]
        shell.feed(literal)
        parts.append(literal)
        end = match.end()
        token = match.group()
        if token in ("{{", "}}"):
            shell.feed(token[0])
            parts.append(token[0])
        elif len(token) == 1:
            problems.append(f"a single {token}: write {token}{token} for a brace")
        else:
            _add(token, text[: match.start()], shell, parts, problems)
    shell.feed(text[end:])
    parts.append(text[end:])
    if shell.comment:
        problems.append(
            "a comment inside run: where lines are folded it would swallow the rest of the command"
        )
    return Template(tuple(part for part in parts if part != ""), tuple(problems))


def _add(
    token: str,
    before: str,
    shell: _Shell,
    parts: list[str | Placeholder],
    problems: list[str],
) -> None:
    group, dot, name = token[1:-1].partition(".")
    known = (group in GROUPS and dot and name) or (group in SINGLES and not dot)
    context = shell.context()
    if before.endswith("$"):
        problems.append(f"${token}: write ${{{token}}} for the shell's variable")
    elif known:
        parts.append(Placeholder(group, name or None))
    else:
        what = f"{token} names nothing"
        example = f"{{{group}.NAME}}" if group in GROUPS else "{inputs.NAME}, {params.NAME}, …"
        problems.append(f"{what}: write {example}, or {{{token}}} for braces")
    if known and context:
        problems.append(
            f"{token} inside {context}: its value is quoted already, put it outside as a word"
        )
    shell.feed("x")  # a placeholder is a word: what follows it does not begin one


class _Shell:
    """How bash would read what was fed so far: in quotes, in a comment, and so on."""

    def __init__(self) -> None:
        self.quote = ""
        self.escaped = False
        self.comment = False
        self.ansi = False
        self.previous = " "
        self.plain = ""  # outside of quotes only

    def feed(self, text: str) -> None:
        for char in text:
            self._one(char)

    def _one(self, char: str) -> None:
        if self.escaped:
            self.escaped = False
            self.previous = "x"
            self.plain += "x"
            return
        if char == "\\" and self.quote != "'":
            self.escaped = True
        elif self.quote:
            if char == self.quote:
                self.quote = ""
        elif char in "'\"`":
            self.ansi |= char == "'" and self.previous == "$"
            self.quote = char
        elif char == "#" and self.previous in " \t\n;|&(":
            self.comment = True
        if not self.quote:
            self.plain += char
        self.previous = char

    def context(self) -> str | None:
        if self.escaped:
            return "a backslash escape"
        if self.ansi:
            return "a command that has $'…' before it"
        if self.quote:
            return {"'": "single quotes", '"': "double quotes", "`": "backticks"}[self.quote]
        if self.plain.count("((") > self.plain.count("))") or "$[" in self.plain:
            return "arithmetic"
        if _HEREDOC.search(self.plain.replace("<<<", "")):
            return "a here-document"
        return None


def variable(group: str, name: str | None = None) -> str:
    """The environment variable that holds a value, such as ML_EXPERIMENT_PARAMS_C."""
    text = group if name is None else f"{group}_{name}"
    return "ML_EXPERIMENT_" + re.sub(r"\W", "_", text).upper()


def as_text(value: Any) -> str:
    """One value as the text that a program gets: JSON's words, strings as they are."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


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
        words.append(" ".join(shlex.quote(as_text(item)) for item in items))
    return "".join(words)
