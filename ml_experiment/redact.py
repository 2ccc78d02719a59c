"""No secret is in a record: passwords, tokens and keys become `***`.

A secret is known by its value (it is in an environment variable that is named as one, or that the
experiment passes on), by the name before it (`--password X`, `api_key: X`, `?token=X`) or by its
shape (`ghp_…`, `scheme://user:X@host`, a private key). A name that ends in `password` or `api_key`
makes a secret of anything; one that ends in `token` does not of a number, nor of `<pad>`; for
`eos_token`, `tokens` or `token_dim` the value itself has to look random.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any
from urllib.parse import quote, quote_plus, unquote

MASK = "***"
SHORTEST = 6  # a shorter value is in every second word

Span = tuple[int, int]
Find = Callable[[str, int], Span | None]  # a text and where a word begins -> what to mask

# --- By value ---------------------------------------------------------------------------------

_VARIABLE = re.compile(
    r"(?:TOKEN|SECRET|PASSW(?:OR)?D|PASSPHRASE|API_?KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIAL)S?"
    r"(?![A-Z])(?!.*_(?:FILE|PATH|DIR|HOME)$)"  # TOKENIZERS_PARALLELISM is none
    r"|(?:^|_|SSH)PASS$|_PWD$",
    re.IGNORECASE,
)
_KEY = re.compile(r"_KEY$", re.IGNORECASE)  # OPENAI_KEY, and SORT_KEY
_TRIVIAL = re.compile(
    "default|development|disabled|enabled|localhost|offline|online|password|production|secret"
    "|staging|testing|undefined",
    re.IGNORECASE,
)
_NUMBERS = re.compile(r"[\d\s.,:;eE+-]{1,11}|\W*")  # `0,1,2,3`, a port, a size, a row of dashes


@dataclass(frozen=True)
class Redactor:
    """Masks the secrets of one environment, and everything that looks like one."""

    values: re.Pattern[str] = field(repr=False)  # every form of every known secret
    signs: re.Pattern[str] = field(repr=False)  # a text in which it finds nothing has no secret

    def text(self, text: str) -> str:
        """The text without secrets."""
        if self.signs.search(text) is None:
            return text
        return _masked(self.values.sub(MASK, text))

    def data(self, data: Any) -> Any:
        """The same data, its keys and texts without secrets. Tuples become lists, as in JSON."""
        if isinstance(data, str):
            return self.text(data)
        if isinstance(data, dict):
            return {
                self.data(key): self._named(key, value) if _kind(key) else self.data(value)
                for key, value in data.items()
            }
        if isinstance(data, list | tuple):
            for item in data:
                if isinstance(item, str) and item[:1] == "-":
                    return list(self._arguments(data))
            return [self.data(item) for item in data]
        return data

    def _named(self, name: str, value: Any) -> Any:
        """The value of a key whose name makes one think of a secret."""
        if isinstance(value, list | tuple):
            return [self._named(name, item) for item in value]
        if isinstance(value, dict) and _kind(name) == "password":  # api_keys: {openai: X}
            return {self.data(key): self._named(name, item) for key, item in value.items()}
        if isinstance(value, str | int | float) and _is_secret(name, str(value), plainly=True):
            return MASK
        return self.data(value)

    def _arguments(self, items: Iterable[Any]) -> Iterator[Any]:
        """Items of a command line: an option's value stands behind it."""
        option = ""
        for item in items:
            is_option = isinstance(item, str) and item[:1] == "-"
            valued = _kind(option) and not is_option
            yield self._named(option, item) if valued else self.data(item)
            option = item if is_option else ""


def redactor(environ: Mapping[str, str], passed: Iterable[str]) -> Redactor:
    """A redactor for this environment.

    Args:
        environ: all variables. Of those whose names say so, the values are secrets, and of all
            others the passwords in URLs.
        passed: names of variables that are secret whatever they are called.
    """
    names = set(passed)
    forms: set[str] = set()
    for name, value in environ.items():
        named = _VARIABLE.search(name) or (_KEY.search(name) and _RANDOM.fullmatch(value))
        if name in names or named:
            forms |= _forms(value) | _forms(value.strip())
        elif "://" in value and (span := _in_url(value, value.index("://"))):
            password = value[slice(*span)]
            forms |= _forms(password) | _forms(unquote(password))
    longest_first = sorted(forms, key=lambda form: (-len(form), form))
    values = "|".join(_whole(form) for form in longest_first) or "(?!)"
    signs = _search(_ANY_CASE, [*_THIS_CASE, *longest_first])
    return Redactor(re.compile(values), re.compile(signs))


def _forms(value: str) -> set[str]:
    """How a value may be written; none where it is too plain to be searched for.

    Too plain are values of under six characters, a few words such as `default`, and numbers of
    under twelve digits: masking them would leave holes in every text and protect nobody.
    """
    if len(value) < SHORTEST or _TRIVIAL.fullmatch(value) or _NUMBERS.fullmatch(value):
        return set()
    quoted = {quote(value, "", errors="replace"), quote(value, errors="replace")}
    quoted.add(quote_plus(value, errors="replace"))
    lower = {re.sub("%..", lambda found: found[0].lower(), form) for form in quoted}
    shell = {value, shlex.quote(value).removeprefix("'").removesuffix("'")}
    shell |= {value.replace("'", r"'\''"), re.sub(r"([^\w@%+=:,./-])", r"\\\1", value)}
    shell |= {re.sub(r'(["\\$`])', r"\\\1", value), value.replace("'", r"\'")}
    escaped = {
        json.dumps(form, ensure_ascii=only)[1:-1] for form in shell for only in (False, True)
    }
    return quoted | lower | shell | escaped


def _whole(form: str) -> str:
    """A value of a few letters only is masked where it is a word, not within others."""
    literal = re.escape(form)
    plain = form.isascii() and form.isalpha() and len(form) < 12
    return rf"(?<![A-Za-z0-9]){literal}(?![A-Za-z0-9])" if plain else literal


# --- By name ----------------------------------------------------------------------------------

_PASSWORD = re.compile(
    r"(?:passw(?:or)?ds?|passphrase|(?:api|access|account|private|secret)_?keys?(?:_id)?)\d*$"
)
_TOKEN = re.compile(r"(?:token|secret|credentials?)\d*$")
_OF_A_MODEL = re.compile(
    r"(?:^|_)(?:audio|begin|blank|bo[sit]|class|cls|end|eo[sit]|first|image|last|mask|max|min|n|new"
    r"|next|num|pad|padding|placeholder|pool|pooling|prompt|sep|special|start|stop|unk|video)_token$"
)
_SIGNATURE = re.compile(r"(?:signature|tokens|secrets|_token)$|^sig$")
_WITHIN = re.compile(
    r"(?:token|secret|passw(?:or)?d|(?:api|access|private)_?key|credential)s?(?![a-z])"
)
_NAME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
_NAME_END = re.compile(r"[A-Za-z0-9_-]{0,64}")
_REACH = 64  # no name is longer, and no decision needs more of a value

_ASSIGNED = re.compile(r"""(\\*["'])?([ \t]{0,8})(?::=|=>|=(?!=)|:(?!//))([ \t]{0,8})""")
_AFTER_OPTION = re.compile(r"""\\*["'](?:,[ \t]{0,8}|[ \t]{1,8})|(?:[ \t]|\\\r?\n){1,8}(?!-)""")
# Nothing that can fail stands behind a repetition, so none is gone back into. Not possessive ones:
# those of groups match wrongly in Python 3.11.2, which Debian 12 has.
_VALUE = re.compile(
    r"""(?:"[^"\\\n]*(?:\\.[^"\\\n]*)*"?|'[^'\\\n]*(?:\\.[^'\\\n]*)*'?)+"""  # 'it'"'"'s'
    r"""|(?P<quote>\\+["'])(?:(?!(?<!\\)(?P=quote))[^\n])*(?:(?P=quote))?"""  # JSON in JSON
    r"""|(?:[^\s"'&;|,\\]+|\\[^\s"]|,(?![\s"'\\]|[\w.-]{1,64}[=:]))+"""
)
_QUOTE = re.compile(r"""\\*["']""")
_CLOSING = ")]}>.,:"  # what a sentence or a call puts behind a value

# What closes them may have been taken for the end of the sentence.
_HARMLESS = re.compile(  # nothing, or where the secret is to be found: `$TOKEN`, `{params.token}`
    r"\*+|(?i:true|false|none|null|nil|yes|no)|str|bool|int|bytes|%s|%\(\w+\)s"
    r"|\$\{\w+\}?|\$[A-Z_][A-Z0-9_]*|\$\([\w./-]*|\{[a-z_][\w.!]*\}?"
)
_CODE = re.compile(r"[A-Za-z_.]+[(\[]")  # password = getpass()
_NO_TOKEN = re.compile(  # a number, `<pad>`, `[PAD]`, `mean`, `args.hf_token`
    r"[-+]?[\d._]{1,11}(?:e[-+]?\d{1,3})?|<[^<>]*>?|\[[^\[\]]*\]?|[a-z]{1,5}"
    r"|[A-Za-z_.]{1,64}_(?:token|secret)"
)
_RANDOM = re.compile(r"(?=[^\d\s]*\d)(?=[^A-Za-z\s]*[A-Za-z])[\w+/=.~%:-]{12,}")
_MIXED = re.compile(r"(?=[^\d]*\d)(?=[^a-z]*[a-z])(?=[^A-Z]*[A-Z])[\w-]{20,}", re.ASCII)


@lru_cache(4096)
def _kind(name: object) -> str | None:
    """What a name says of its value: `password`, `token`, `signature`, `within`, or nothing."""
    if not isinstance(name, str):
        return None
    name = name.lower().replace("-", "_")
    if _PASSWORD.search(name):
        return "password"
    if _TOKEN.search(name) and not _OF_A_MODEL.search(name):
        return "token"
    if _SIGNATURE.search(name):
        return "signature"
    return "within" if _WITHIN.search(name) else None


def _is_secret(name: str, value: str, *, plainly: bool) -> bool:
    """Whether a value is to be masked.

    Args:
        name: what it is the value of.
        value: without quotes; the beginning will do.
        plainly: whether it is the value for sure, as it is not in "token: a word".
    """
    kind = _kind(name)
    if not value or _HARMLESS.fullmatch(value) or _same(name, value):
        return False
    if kind == "password":
        return True
    if kind == "token" and plainly:
        return not _NO_TOKEN.fullmatch(value)
    return (_MIXED if kind == "within" else _RANDOM).fullmatch(value) is not None


def _same(name: str, value: str) -> bool:
    """`--token TOKEN` and `token=args.token` say nothing."""
    return value.rpartition(".")[2].lower() == name.strip("-").replace("-", "_").lower()


def _by_name(text: str, start: int) -> Span | None:
    """The value behind a name, given where a telling word in the name begins."""
    before = text[max(0, start - _REACH) : start]
    rest = before.rstrip(_NAME)
    ending = _NAME_END.match(text, start)
    assert ending is not None
    name = before[len(rest) :] + ending[0]
    if _kind(name) is None:
        return None
    found = _ASSIGNED.match(text, ending.end())
    if found:
        plainly = bool(found[1]) or not (found[2] or found[3] or found[0] == ":")
        plainly = plainly and rest[-1:] != "/"  # results/token=first/model.pt
    elif name.startswith("-") and (found := _AFTER_OPTION.match(text, ending.end())):
        plainly = True
    else:
        return None
    begin = found.end()
    first = _VALUE.match(text[begin : begin + 2 * _REACH])  # no more, or hostile text takes long
    statement = found[0].startswith(" ") and found[0].endswith("= ")
    if not first or (statement and _CODE.match(first[0])):
        return None
    if not plainly and not (
        statement and first[0][0] not in "\"'"
    ):  # a line of its own, as in YAML
        after = text[begin + first.end() :][:1]
        alone = not rest.rpartition("\n")[2].strip(" \t+-") and ("\n" in rest or start < _REACH)
        plainly = alone and after in {"", "\n", "\r"}
    if not _is_secret(name, _inside(first[0]), plainly=plainly):
        return None
    value = _VALUE.match(text, begin)
    assert value is not None
    opening = _QUOTE.match(value[0])
    begin += opening.end() if opening else 0
    return begin, begin + len(_inside(value[0]))


def _inside(value: str) -> str:
    """A value without its quotes or what stands behind it."""
    opening = _QUOTE.match(value)
    if not opening:
        return value.rstrip(_CLOSING)
    inside = value[opening.end() :]
    return inside.removesuffix(opening[0]) if inside.endswith(opening[0]) else inside.rstrip("\"'")


# --- By shape ---------------------------------------------------------------------------------

_AUTHORITY = re.compile(r"""://((?:[^\s/?#"'<>\\]|'(?![,\s)\]}]))*)@(?!sha256:)""")
_HEADER = re.compile(
    r"""authorization\\*["']?[ \t]{0,8}[:=][ \t]{0,8}\\*["']?"""
    r"""(?:(apikey|basic|bearer|digest|negotiate|token)[ \t]{1,8})?([^\s"'\\,;]+)""",
    re.IGNORECASE,
)
_BEARER = re.compile(r"bearer[ \t]{1,8}([\w.~+/=-]{12,})", re.IGNORECASE)
_BLOCK = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----[^-]*(?:-(?!----)[^-]*)*"
    r"(?:-----END [A-Z0-9 ]{0,50}-----)?"
)
_SHAPES = {
    "AKIA": r"[0-9A-Z]{16}(?![0-9A-Za-z])",
    "ASIA": r"[0-9A-Z]{16}(?![0-9A-Za-z])",
    "AIza": r"[\w-]{35}",
    "eyJ": r"[\w-]{10,}\.[\w-]{10,}(?:\.[\w-]*)?",  # a JSON web token
    **{f"gh{kind}_": r"[A-Za-z0-9]{20,}" for kind in "pousr"},
    "github_pat_": r"\w{20,}",
    "glpat-": r"[\w-]{20,}",
    "hf_": r"[A-Za-z0-9]{20,}",
    "sk-": r"(?=[a-zA-Z_-]{0,64}\d)(?=[a-z0-9_-]{0,64}[A-Z])[\w-]{20,}",
    "xox": r"[a-z]-[\w-]{10,}",
}


def _in_url(text: str, start: int) -> Span | None:
    """The password of a URL, or a user that is a token."""
    found = _AUTHORITY.match(text, start)
    if not found:
        return None
    begin, end = found.span(1)
    user, colon, password = found[1].partition(":")
    if len(user) >= 20 and _RANDOM.fullmatch(user):
        return begin, end
    return (begin + len(user) + 1, end) if colon and password else None


def _in_header(text: str, start: int) -> Span | None:
    found = _HEADER.match(text, start)
    if not found or _HARMLESS.fullmatch(found[2]):
        return None
    return found.span(2) if found[1] or _RANDOM.fullmatch(found[2]) else None


def _bearer(text: str, start: int) -> Span | None:
    found = _BEARER.match(text, start)
    return found.span(1) if found and _RANDOM.fullmatch(found[1]) else None


def _block(text: str, start: int) -> Span | None:
    found = _BLOCK.match(text, start)
    return found.span() if found else None


@cache
def _shape(prefix: str) -> Find:
    pattern = re.compile(rf"(?<![A-Za-z0-9_-]){re.escape(prefix)}{_SHAPES[prefix]}", re.ASCII)

    def find(text: str, start: int) -> Span | None:
        found = pattern.match(text, start)
        return found.span() if found else None

    return find


# --- All words at once ------------------------------------------------------------------------

_ANY_CASE: dict[str, Find] = {
    **dict.fromkeys(["credential", "key", "passphrase", "passw", "secret"], _by_name),
    **dict.fromkeys(["sig=", "signature", "token"], _by_name),
    "authorization": _in_header,
    "bearer": _bearer,
}
_THIS_CASE: dict[str, Find] = {
    "://": _in_url,
    "-----BEGIN ": _block,
    **{prefix: _shape(prefix) for prefix in _SHAPES},
}
_FREQUENT = "/etaoinsrhld0123456789_-cum=fpgwybv.:kxjqz"  # most frequent first, as in records


def _rarest(word: str) -> int:
    """Where in a word its rarest character is."""
    return max(range(len(word)), key=lambda at: _FREQUENT.find(word[at]) % 99)


def _search(any_case: Iterable[str], this_case: Iterable[str]) -> str:
    """A pattern for all words, which matches each from its rarest character on.

    What a pattern takes is how often it has to begin, and with how many choices: 5 kB of a log
    took 440 µs with all words in (?i), and take 30 with the choices below one letter each.
    """
    choices: dict[str, list[str]] = {}
    for words, flag in ((any_case, "(?i:"), (this_case, "(?:")):
        for word in words:
            at = _rarest(word)
            behind = f"(?<={flag}{re.escape(word[: at + 1])}))" if at else ""
            ahead = f"{flag}{re.escape(word[at + 1 :])})"
            for letter in {word[at], word[at].swapcase()} if flag == "(?i:" else {word[at]}:
                choices.setdefault(letter, []).append(behind + ahead)
    return "|".join(
        f"{re.escape(letter)}(?:{'|'.join(choices[letter])})" for letter in sorted(choices)
    )


_WORDS = re.compile(_search(_ANY_CASE, _THIS_CASE))
_RULES = {
    word[_rarest(word) :].lower(): (_rarest(word), find)
    for word, find in (_ANY_CASE | _THIS_CASE).items()
}


def _masked(text: str) -> str:
    parts: list[str] = []
    done = 0
    for hit in _WORDS.finditer(text):
        offset, find = _RULES[hit[0].lower()]
        start = hit.start() - offset
        span = find(text, start) if start >= done else None
        if span and span[0] >= done and span[0] < span[1]:
            parts += text[done : span[0]], MASK
            done = span[1]
    return "".join(parts) + text[done:] if parts else text
