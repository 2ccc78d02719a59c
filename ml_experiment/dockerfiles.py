"""Dockerfiles: which images they take something from, by which names, and those that are written for a
list of packages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from ml_experiment.errors import Place, UserError

Kind = Literal["dockerfile", "image", "python", "conda", "r"]
PINNED = "requirements.lock"  # what requirements.txt comes to, with hashes
WHEELS = "wheels"  # a folder beside a Dockerfile, with the files that PINNED names
PREFIX = "/opt/env"  # where an image has what was installed from a list

_FLAGS = re.IGNORECASE | re.MULTILINE
_FROM = re.compile(r"^\s*FROM\s+(?:--platform=\S+\s+)?(\S+)(?:\s+AS\s+(\S+))?\s*$", _FLAGS)
_COPY = re.compile(r"^\s*COPY\s+(?:--(?!from=)\S+\s+)*--from=(\S+)", _FLAGS)
_WHEELS = re.compile(
    r"""^\s*(?:COPY|ADD)\s+(?:--(?!from=)\S+\s+)*(?:(?!--)\S+\s+)*\[?"?wheels/?"?,?\s+\S""", _FLAGS
)
_ARG = re.compile(r"^\s*ARG\s+(\w+)=[\"']?([^\s\"']*)[\"']?\s*$", _FLAGS)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


class Taken(NamedTuple):
    """An image that a Dockerfile takes something from, and where in its text that stands."""

    name: str
    start: int
    end: int


def images(text: str, where: str) -> Iterator[Taken]:
    """The images that a Dockerfile takes something from, by FROM and by COPY --from.

    Args:
        text: the Dockerfile.
        where: its folder, for a message.

    Raises:
        UserError: it has none, or one that cannot be known.
    """
    first = _FROM.search(text)
    if first is None:
        raise UserError("no FROM line", where=f"{where}/Dockerfile")
    given = dict(_ARG.findall(text[: first.start()]))
    stages: set[str] = set()
    for match in sorted([*_FROM.finditer(text), *_COPY.finditer(text)], key=lambda m: m.start()):
        name = match[1]
        if match.re is _FROM:
            name = _VARIABLE.sub(lambda m: given.get(m[1] or m[2], m[0]), name)
        if "$" in name:
            line = text.count("\n", 0, match.start(1)) + 1
            what = "which image this is depends on an ARG without a value"
            hint = "give the ARG a value in the Dockerfile"
            raise UserError(what, where=Place(f"{where}/Dockerfile", line), value=name, hint=hint)
        if name.lower() not in {*stages, "scratch"} and not name.isdecimal():
            yield Taken(name, match.start(1), match.end(1))
        if match.re is _FROM and match[2]:
            stages.add(match[2].lower())


def pinned(text: str, pins: Mapping[str, str], where: str) -> str:
    """A Dockerfile whose images are those that a lock pins."""
    for name, start, end in reversed(list(images(text, where))):
        text = text[:start] + pins[name] + text[end:]
    return text


def digest_of(name: str, known: Iterable[str]) -> str | None:
    """How a registry knows the image that has a name, `name@sha256:…`; None where none of it does.

    Args:
        name: with or without a tag, or a digest.
        known: how registries know the image. Docker leaves its own registry's name away in them.
    """
    repository = _repository(name)
    return next((each for each in sorted(known) if _repository(each) == repository), None)


def _repository(name: str) -> str:
    short = re.sub(r"(:[^:/]*)?(@.*)?$", "", name)
    for left_away in ("index.docker.io/", "docker.io/", "library/"):
        short = short.removeprefix(left_away)
    return short


def takes_wheels(text: str) -> bool:
    """Whether a Dockerfile copies the folder WHEELS, which is filled for it then."""
    return _WHEELS.search(text) is not None


def written(kind: Kind, base: str) -> str:
    """The Dockerfile of a list of packages, upon the pinned image `base`.

    Nothing of a registry is in it: the distributions of Python are in its folder, in `wheels`. The
    pip among them is run from its file, so a base needs no more than Python.
    """
    return {"python": _PYTHON, "conda": _CONDA, "r": _R}[kind].replace("{base}", base)


# Bytecode is what the source says, by the source's hash and not its time, which is another each time.
# Of the image that comes of it the engine's side takes PREFIX alone (Engine.same_everywhere).
_PYTHON = f"""\
FROM {{base}}
COPY {PINNED} /tmp/env/
COPY wheels /tmp/env/wheels
RUN export PYTHONHASHSEED=0 \\
 && python3 -m venv --without-pip {PREFIX} \\
 && set -- /tmp/env/wheels/pip-*.whl \\
 && {PREFIX}/bin/python "$1/pip" --no-cache-dir --disable-pip-version-check --quiet install \\
    --root-user-action=ignore --no-index --find-links=/tmp/env/wheels --no-compile \\
    --require-hashes -r /tmp/env/{PINNED} \\
 && {{ {PREFIX}/bin/python -m compileall -qq --invalidation-mode unchecked-hash {PREFIX}/lib || true; }}
ENV PATH={PREFIX}/bin:$PATH VIRTUAL_ENV={PREFIX}
"""
_CONDA = f"""\
FROM {{base}}
USER root
COPY environment.yml /tmp/environment.yml
RUN tool=$(command -v micromamba || command -v mamba || command -v conda) \\
 && "$tool" create --yes --prefix {PREFIX} --file /tmp/environment.yml \\
 && "$tool" clean --all --yes
ENV PATH={PREFIX}/bin:$PATH
"""
_R = """\
FROM {base}
COPY renv.lock /tmp/renv.lock
RUN R --quiet -e 'install.packages("renv")' \\
 && R --quiet -e 'renv::restore(lockfile = "/tmp/renv.lock", library = .Library.site[1], prompt = FALSE)'
"""
