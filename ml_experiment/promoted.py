"""`models.json`: which content an alias means, for git, so that it is known in every clone.

The registry may be a database of one workspace, and a promoted version may be older than the records
that travel. So what is known of a promoted version stands here, and nothing of any other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ml_experiment import atomic
from ml_experiment.errors import UserError
from ml_experiment.hashing import DIGEST
from ml_experiment.versions import Version

FILE = "models.json"


def read(folder: Path) -> list[Version]:
    """The promoted versions, with their aliases.

    Raises:
        UserError: the file is none of ours.
    """
    try:
        said = json.loads((folder / FILE).read_text("utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise UserError(f"cannot be read: {error}", where=FILE, hint=_HINT) from None
    try:
        return [
            _version(name, digest, facts, model["aliases"])
            for name, model in said.items()
            for digest, facts in model["versions"].items()
        ]
    except (LookupError, TypeError, AttributeError, ValueError):
        raise UserError("not a file of promoted models", where=FILE, hint=_HINT) from None


_HINT = f"`git checkout -- {FILE}`, or remove it and promote again"


def _version(
    name: str, digest: str, facts: Mapping[str, Any], aliases: Mapping[str, str]
) -> Version:
    if not DIGEST.fullmatch(digest):
        raise ValueError
    own = tuple(sorted(alias for alias, meant in aliases.items() if meant == digest))
    return Version(name, digest, {**facts}, None, own)


def promote(folder: Path, version: Version, alias: str) -> None:
    """Have an alias mean a version, and no other any more."""
    kept: dict[tuple[str, str], Version] = {}
    for each in read(folder):
        left = tuple(own for own in each.aliases if (each.name, own) != (version.name, alias))
        if left:
            kept[each.key] = Version(each.name, each.hash, each.facts, None, left)
    before = kept[version.key].aliases if version.key in kept else ()
    own = tuple(sorted({*before, alias}))
    kept[version.key] = Version(version.name, version.hash, version.facts, None, own)
    atomic.write(folder / FILE, text(kept.values()))


def text(promoted: Iterable[Version]) -> str:
    """The file's text: sorted, so that a diff can be read."""
    said: dict[str, dict[str, Any]] = {}
    for each in promoted:
        model = said.setdefault(each.name, {"aliases": {}, "versions": {}})
        model["aliases"].update(dict.fromkeys(each.aliases, each.hash))
        model["versions"][each.hash] = dict(each.facts)
    return json.dumps(said, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
