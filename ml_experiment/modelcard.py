"""A model card in Markdown, laid out as Hugging Face's: what is known of a version, the same bytes each time.

The head is YAML (https://huggingface.co/docs/hub/model-cards): licence, library, metrics, data.
"""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ml_experiment.hashing import canonical
from ml_experiment.placeholders import as_text
from ml_experiment.versions import Measured, Version


def card(
    version: Version, experiment: str, measured: Sequence[Measured], raw: Mapping[str, str]
) -> str:
    """The card of a version.

    Args:
        version: with all that is known of it.
        experiment: the experiment's name.
        measured: metrics, each over the replicates of a step.
        raw: path -> hash of the raw data that it was made from.
    """
    parts = [
        _head(version, measured, raw),
        _summary(version, experiment),
        _metrics(measured),
        _training(version, raw),
        _environment(version),
        _reproduce(version),
    ]
    return "\n".join(parts)


def _head(version: Version, measured: Sequence[Measured], raw: Mapping[str, str]) -> str:
    facts = version.facts
    lines = ["---"]
    if facts.get("licence"):
        lines.append(f"license: {_yaml(facts['licence'])}")
    if facts.get("framework"):
        lines.append(f"library_name: {_yaml(_library(facts['framework']))}")
    lines += _list("metrics", dict.fromkeys(each.metric for each in measured))
    lines += _list("datasets", dict.fromkeys(posixpath.basename(path) for path in raw))
    lines += _list("tags", ["ml-experiment"])
    return "\n".join([*lines, "---", ""])


def _library(framework: str) -> str:
    """Hugging Face has names of its own."""
    return {"scikit-learn": "sklearn", "torch": "pytorch"}.get(framework, framework)


def _list(key: str, values: Iterable[str]) -> list[str]:
    items = [f"- {_yaml(value)}" for value in values]
    return [f"{key}:", *items] if items else []


def _yaml(text: str) -> str:
    plain = re.fullmatch(r"[A-Za-z][\w.-]*", text) and text.lower() not in _WORDS
    return text if plain else json.dumps(text, ensure_ascii=False)


_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


def _summary(version: Version, experiment: str) -> str:
    facts = version.facts
    rows: list[tuple[str, Any]] = [
        ("experiment", experiment),
        ("made by", facts.get("job")),
        ("made", str(facts.get("made", ""))[:10]),
        ("file", facts.get("path")),
        ("MD5", version.hash),
        ("size", f"{facts['size']:,} bytes" if facts.get("size") is not None else None),
        ("format", facts.get("format")),
        ("licence", facts.get("licence")),
    ]
    text = facts.get("description") or f"The model {version.name} of the experiment {experiment}."
    return "\n".join([f"# {version.name}", "", text, "", *_table(("", ""), rows), ""])


def _metrics(measured: Sequence[Measured]) -> str:
    if not measured:
        return "## Metrics\n\nNone are recorded.\n"
    rows = [
        (
            of,
            metric,
            f"{mean:.6g}",
            "-" if low is None or high is None else f"{low:.6g} to {high:.6g}",
            str(n),
        )
        for of, metric, mean, low, high, n in measured
    ]
    head = ("measured by", "metric", "mean", "95 % interval of the mean", "n")
    return "\n".join(["## Metrics", "", *_table(head, rows), ""])


def _training(version: Version, raw: Mapping[str, str]) -> str:
    facts = version.facts
    seed = facts.get("seed")
    lines = ["## Training", "", f"Seed: {'nothing random' if seed is None else seed}.", ""]
    params = facts.get("params") or {}
    if params:
        rows = [(name, as_text(params[name])) for name in sorted(params)]
        lines += [*_table(("parameter", "value"), rows), ""]
    files = [(path, digest or "not known", "input") for path, digest in sorted(_inputs(facts))]
    direct = {path for path, _, _ in files}
    files += [(p, d, "raw data") for p, d in sorted(raw.items()) if p not in direct]
    files += [(path, digest, "code") for path, digest in sorted((facts.get("code") or {}).items())]
    return "\n".join([*lines, *_table(("file", "hash", "what"), files), ""])


def _inputs(facts: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    for path, digest in (facts.get("inputs") or {}).items():
        if not path.startswith(".ml_experiment/"):
            yield path, digest


def _environment(version: Version) -> str:
    environment = version.facts.get("environment") or {}
    rows = [
        (name, value if isinstance(value, str) else canonical(value))
        for name, value in sorted(environment.items())
        if name != "differs"
    ]
    packages = version.facts.get("packages") or {}
    rows += [(name, packages[name]) for name in sorted(packages)]
    if not rows:
        return "## Environment\n\nNothing is recorded of it.\n"
    return "\n".join(["## Environment", "", *_table(("", ""), rows), ""])


def _reproduce(version: Version) -> str:
    facts = version.facts
    git = facts.get("git") or {}
    lines = ["## How to reproduce", "", "```sh"]
    if git.get("remote"):
        folder = posixpath.basename(git["remote"].rstrip("/")).removesuffix(".git") or "clone"
        lines.append(
            f"{shlex.join(['git', 'clone', git['remote'], folder])} && cd {shlex.quote(folder)}"
        )
    if git.get("commit"):
        dirty = "   # with changes that were not committed" if git.get("dirty") else ""
        lines.append(f"git checkout {shlex.quote(git['commit'])}{dirty}")
    lines += [
        f"ml-experiment models get {version.name}/{version.hash[:8]}   # these bytes, by their hash",
        f"snakemake --cores 1 --forceall {shlex.quote(str(facts.get('path')))}   # or make them again",
        "```",
    ]
    return "\n".join([*lines, ""])


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """A table, without the rows that have no value."""
    lines = [_row(head), "|" + " --- |" * len(head)]
    return [*lines, *(_row(row) for row in rows if row[1] not in (None, ""))]


def _row(cells: Sequence[Any]) -> str:
    texts = (" ".join(str(cell).replace("|", "\\|").split()) for cell in cells)
    return "| " + " | ".join(texts) + " |"
