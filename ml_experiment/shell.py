"""Where in a command bash reads a plain word: the places at which a quoted value may stand.

This reads as much of bash's grammar as that needs, and prefers to refuse: after a construct whose
end it cannot be sure of (a here-document, backticks, `case` within parentheses) it trusts no place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

HOLE = "\0"  # stands for a placeholder; no command can hold this character
PROGRAM = "the place of the program"

# Builtins that evaluate their arguments: `let 'x[$(date)]'` runs date, whatever the quotes.
_EVALUATING = frozenset(
    [
        "alias",
        "bind",
        "compgen",
        "complete",
        "coproc",
        "declare",
        "enable",
        "eval",
        "export",
        "for",
        "function",
        "getopts",
        "let",
        "local",
        "mapfile",
        "printf",
        "read",
        "readarray",
        "readonly",
        "select",
        "test",
        "trap",
        "typeset",
        "unset",
        "wait",
        "[",
    ]
)
_LEADING = frozenset(
    ["!", "{", "builtin", "command", "do", "elif", "else", "if", "then", "time", "until", "while"]
)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=")
_META = " \t\n|&;()<>"


@dataclass(frozen=True)
class Scan:
    """What was found.

    Attributes:
        contexts: for each hole what it is inside of, or None where a quoted value is one word.
        comment: whether there is a comment.
    """

    contexts: tuple[str | None, ...]
    comment: bool


def scan(text: str) -> Scan:
    """Read a command with holes."""
    scanner = _Scanner(text)
    while scanner.at < len(text):
        scanner.step()
    return Scan(tuple(scanner.contexts), scanner.comment)


@dataclass
class _Command:
    """The simple command that is being read."""

    words: list[str] = field(default_factory=list)  # whole ones; redirections are left out
    word: str = ""  # the current one; quoted parts and expansions as `x`
    name: str = ""  # the current one with its quotes taken away, as `words` has them
    redirect: str = ""  # the current or next word is a `file` or a descriptor's `number`

    @property
    def head(self) -> str | None:
        """The word that names the program or builtin, if it is already there."""
        leading = False
        for word in self.words:
            if word in _LEADING:
                leading = True
            elif not _ASSIGNMENT.match(word) and not (leading and word.startswith("-")):
                return word  # and no option, as in `command -p eval`
        return None


@dataclass
class _Scanner:
    """Open constructs, innermost last, each with the command that it interrupts.

    `"`; `$(` also for `<(` and `>(`; `(` a group; `=(` an array; `((` arithmetic and `a(` a
    parenthesis in it; `${`; `[[`.
    """

    text: str
    at: int = 0
    stack: list[tuple[str, _Command]] = field(default_factory=list)
    contexts: list[str | None] = field(default_factory=list)
    comment: bool = False
    lost: str | None = None  # what made every later place uncertain
    now: _Command = field(default_factory=_Command)

    @property
    def top(self) -> str:
        return self.stack[-1][0] if self.stack else ""

    def lose(self, why: str) -> None:
        self.lost = self.lost or f"a command that has {why} before it"

    def step(self) -> None:
        """Read one character, or as many as belong together."""
        char = self.text[self.at]
        top = self.top
        if char == HOLE:
            self.contexts.append(self.lost or self.context())
            self.add("x", HOLE)
            self.at += 1
        elif char == "\\":
            self.escape()
        elif top == '"':
            self.double_quoted(char)
        elif top in ("((", "a(", "${"):
            self.expression(char, top)
        else:
            self.plain(char)

    # ---- what a hole is inside of --------------------------------------------------------------

    def context(self) -> str | None:
        for kind, _ in reversed(self.stack):
            if kind == "(":
                continue
            named = {'"': "double quotes", "((": "arithmetic", "a(": "arithmetic"}
            named |= {"${": "${…}", "[[": "[[ … ]]"}
            if kind in named:
                return named[kind]
            break
        return self.in_word() or self.in_command()

    def in_word(self) -> str | None:
        word = self.now.word
        if word.endswith("$"):
            return "a $ expansion"
        if _is_open(word, "{", "}"):
            return "braces that the shell expands"
        if _is_open(word, "[", "]"):
            return "square brackets that the shell expands"
        if re.search(r"(^|[=:])~[^/]*$", word):
            return "a ~ expansion"
        if self.now.redirect == "number":  # bash expands that word twice
            return "a redirection to a number (>&)"
        return None

    def in_command(self) -> str | None:
        words, word, head = self.now.words, self.now.word, self.now.head
        if self.now.redirect or (_ASSIGNMENT.match(word) and head is None):
            return None
        if head is None:
            return None if self.top == "=(" else PROGRAM
        if head not in _EVALUATING:
            return None
        last = words[-1]
        if head in ("export", "local", "readonly"):
            fine = _ASSIGNMENT.match(word) and not any(w.startswith("-") for w in words)
        elif head in ("for", "select"):
            fine = "in" in words
        elif head in ("[", "test"):
            fine = not last.startswith(("-v", "-R")) and HOLE not in last
        else:
            fine = (
                head == "printf"
                and last not in ("-v", head)
                and HOLE not in last
                and word[:2] != "-v"
            )
        return None if fine else f"the arguments of `{head}`, which the shell evaluates"

    # ---- one character in each kind of place ---------------------------------------------------

    def escape(self) -> None:
        following = self.text[self.at + 1 : self.at + 2]
        if following == "\n":  # a continued line: as if nothing were there
            if self.text[self.at - 1 : self.at] not in ("", " ", "\t", "\n"):
                self.lose("a line broken within a word")
        else:
            if following == HOLE:
                self.contexts.append("a backslash escape")
            if self.top in ("((", "a(", "${"):
                self.lose("an escape in an expression")
            self.add("x", following)
        self.at += 2

    def double_quoted(self, char: str) -> None:
        self.at += 1
        if char == '"':
            self.close()
        elif char == "`":
            self.lose("backticks (write $(…))")
        elif char == "$":
            self.dollar()
        elif self.stack:
            self.stack[-1][1].name += char

    def expression(self, char: str, top: str) -> None:
        """Inside `((…))` or `${…}`: quotes there have rules of their own."""
        self.at += 1
        if char in "'\"`" or (char == "$" and self.text[self.at : self.at + 1] in tuple("({['\"")):
            self.lose("quotes or substitutions in an expression")
        elif top == "${":
            if char == "}":
                self.close()
        elif char == "(":
            self.open("a(")
        elif char == ")":
            if top == "((":
                if self.text.startswith(")", self.at):
                    self.at += 1
                else:
                    self.lose("(( that is not arithmetic")
            self.close()

    def plain(self, char: str) -> None:
        self.at += 1
        if char in _META:
            self.between(char)
        elif char == "'":
            self.single_quoted(ansi=self.now.word.endswith("$"))
        elif char == '"':
            self.drop_dollar()
            self.open('"')
        elif char == "`":
            self.lose("backticks (write $(…))")
        elif char == "#" and not self.now.word:
            self.comment = True
            self.lose("a comment")
        elif char == "$":
            self.dollar()
        else:
            self.add(char, char)

    def single_quoted(self, *, ansi: bool) -> None:
        begin = self.at
        while self.at < len(self.text) and self.text[self.at] != "'":
            self.at += ansi and self.text[self.at] == "\\"
            if self.text[self.at : self.at + 1] == HOLE:
                self.contexts.append("single quotes")
            self.at += 1
        quoted = self.text[begin : self.at]
        self.at += 1
        if ansi:
            self.drop_dollar()
        self.add("x", quoted)

    def dollar(self) -> None:
        """After a `$`: what does it begin?"""
        rest = self.text[self.at : self.at + 2]
        if rest == "((":
            self.at += 2
            self.open("((")
        elif rest[:1] == "(":
            self.at += 1
            self.open("$(")
        elif rest[:1] == "{":
            self.at += 1
            self.open("${")
        elif rest[:1] == "[":
            self.lose("$[…] (write $((…)))")
        elif rest[:1] and rest[0] in "$#!?-*@":
            self.at += 1
            self.add("x", "x")
        else:
            self.add("$", "$")

    def between(self, char: str) -> None:
        """A character that ends words."""
        before = self.text[self.at - 2 : self.at - 1]
        after = self.text[self.at : self.at + 1]
        self.end_word(descriptor=char in "<>")
        if self.top == "=(" and char in ";|&<>(":
            self.lose("an array that bash cannot read")
        if char == "(":
            self.parenthesis(before, after)
        elif char == ")":
            if self.stack and self.top != "[[":
                self.close()
            else:
                self.now = _Command()  # the end of a pattern of `case`
        elif char in "<>":
            self.now.redirect = "file"
            if char == after == "<":
                if not self.text.startswith("<<", self.at):
                    self.lose("a here-document")
                self.at += 1 + self.text.startswith("<<", self.at)
        elif char == "&" and (before in tuple("<>") or after == ">"):
            self.now.redirect = "file" if after == ">" else "number"
        elif char in "\n;|&" and not (char == "|" and before == ">"):
            self.now = _Command()

    def parenthesis(self, before: str, after: str) -> None:
        if before in tuple("<>"):
            self.open("$(")
        elif after == "(":
            self.at += 1
            self.open("((")
        else:
            last = self.now.words[-1] if self.now.words else ""
            self.open("=(" if before == "=" and _ASSIGNMENT.fullmatch(last) else "(")

    def end_word(self, *, descriptor: bool) -> None:
        """The current word is whole. `descriptor`: a number here belongs to a redirection."""
        word, name = self.now.word, self.now.name
        self.now.word = self.now.name = ""
        if not word or (descriptor and word.isdigit()):
            return
        if self.now.redirect:
            self.now.redirect = ""
            return
        if word == "case" and self.stack and self.now.head is None:
            self.lose("`case` within parentheses")
        if re.match(r"\w+\[", word) and _is_open(word, "[", "]"):
            self.lose("a subscript with blanks")
        if word == "[[" and self.now.head is None:
            self.open("[[")
        elif word == "]]" and self.top == "[[":
            self.close()
        else:
            self.now.words.append(name)

    # ---- open and close ------------------------------------------------------------------------

    def add(self, word: str, name: str) -> None:
        self.now.word += word
        self.now.name += name

    def drop_dollar(self) -> None:
        """The $ of $'…' or $"…" is no part of the word."""
        if self.now.word.endswith("$"):
            self.now.word, self.now.name = self.now.word[:-1], self.now.name[:-1]

    def open(self, kind: str) -> None:
        self.stack.append((kind, self.now))
        self.now = _Command()

    def close(self) -> None:
        kind, outer = self.stack.pop()
        if kind == "(":  # what follows a group, or the () of a function, is a new command
            self.now = _Command()
        else:
            self.now = outer
            self.add("x", "" if kind == '"' else "x")


def _is_open(word: str, opening: str, closing: str) -> bool:
    depth = 0
    for char in word:
        depth = max(0, depth + (char == opening) - (char == closing))
    return depth > 0
