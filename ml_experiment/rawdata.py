"""Raw data: files and folders that no step makes, which DVC keeps by a .dvc file beside each.

The experiment names them (`data:`), and a step's input `data.NAME` is the path.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ml_experiment import atomic, paths, yamlio
from ml_experiment.digests import Digests
from ml_experiment.errors import ExperimentError, Place, Problem, UserError
from ml_experiment.hashing import MARK, canonical
from ml_experiment.model import Data, Import
from ml_experiment.plan import STATE, Plan
from ml_experiment.references import DATA

ENDING = ".dvc"

Report = Callable[..., None]  # (path in the experiment, what, value=, expected=, hint=)


class Kept(NamedTuple):
    """What a .dvc file says.

    Attributes:
        digest: of the data; empty where DVC has not had them yet.
        origin: where DVC fetched them from; empty where they were added by hand.
    """

    digest: str
    origin: str


def file_of(path: str) -> str:
    """The .dvc file of some data."""
    return f"{path}{ENDING}"


def kept(folder: Path, path: str) -> Kept | None:
    """What DVC has of some data; None where there is no .dvc file.

    Raises:
        UserError: it cannot be read, or is none of DVC's.
    """
    file = file_of(path)
    try:
        said = yamlio.read((folder / file).read_text("utf-8"), file).plain()
        (out,) = said["outs"]
        origins = [_origin(path, dep) for dep in said.get("deps", ())]
        return Kept(str(out.get("md5", "")), ", ".join(origins))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read: {error}", where=file) from None
    except (ExperimentError, ValueError, LookupError, TypeError, AttributeError):
        expected = "a .dvc file with one output"
        raise UserError("no file of DVC's", where=file, expected=expected) from None


def _origin(path: str, dep: Mapping[str, Any]) -> str:
    """A dependency as the experiment would say it: a path as seen from the project."""
    source = str(dep["path"])
    if "repo" in dep:
        return _of_repository(dep["repo"].get("url", ""), source, dep["repo"].get("rev_lock"))
    if "://" in source or os.path.isabs(source):
        return source
    return os.path.normpath(os.path.join(os.path.dirname(path), source))


def described(source: str | Import) -> str:
    """Where data may come from, on one line."""
    if isinstance(source, str):
        return source
    return _of_repository(source.repo, source.path, source.rev)


def _of_repository(repo: str, path: str, rev: str | None) -> str:
    return f"{path} of {repo}" + (f" at {rev[:12]}" if rev else "")


def holder(folder: Path, path: str) -> str | None:
    """The data with a .dvc file that a path is, or lies in."""
    while path:
        if (folder / file_of(path)).is_file():
            return path
        path = os.path.dirname(path)
    return None


def absent(plan: Plan, path: str) -> Problem | None:
    """What to say of an input that no step makes, where it is raw data that is not there."""
    if os.path.exists(plan.folder / path):
        return None
    found = next((n for n, d in plan.experiment.data.items() if path_of(d.path) == path), None)
    if found is not None:
        hint = f"`ml-experiment data get {found}` fetches it"
        return Problem(f"the raw data {found} is not there", Place(path), hint=hint)
    data = holder(plan.folder, path)
    if data is None:
        return None
    hint = f"`ml-experiment pull {data}` fetches it"
    return Problem("raw data that DVC keeps is not there", Place(path), hint=hint)


def absences(plan: Plan) -> list[Problem]:
    """The raw data that steps take and that is not there, each once."""
    items = (i for s in plan.steps.values() for named in s.inputs.values() for i in named.values())
    sources = dict.fromkeys(source.path for item in items for source in item.sources)
    found = (absent(plan, path) for path in sources if path is not None)
    return [problem for problem in found if problem is not None]


def lost(folder: Path, data: Data) -> bool:
    """Whether raw data are not there, and nothing says where they could come from.

    Raises:
        UserError: a .dvc file that cannot be read.
    """
    path = path_of(data.path)
    if (folder / path).exists() or data.source is not None:
        return False
    found = kept(folder, path)
    return found is None or not found.digest


def looked_at(plan: Plan) -> Plan:
    """A plan with what is in raw folders now, such as after they were fetched."""
    found = _folders(plan)
    return plan if found == plan.folders else replace(plan, folders=found)


def inputs(plan: Plan) -> set[str]:
    """The paths of all inputs that no step makes."""
    items = (
        item for s in plan.steps.values() for each in s.inputs.values() for item in each.values()
    )
    return {source.path for item in items for source in item.sources if source.path is not None}


def _folders(plan: Plan) -> dict[str, str]:
    """The digest of every input that is a folder of the project and that no rule makes, by path.

    Which are read again is known by number, size and the latest time of their files, from last time.
    A folder that a rule has made has Snakemake's mark, by whose time Snakemake goes.
    """
    others = {"", ".", "..", plan.results, plan.logs, STATE, ".snakemake"}  # "": the root of all
    wanted = [
        path
        for path in sorted(inputs(plan))
        if path_of(path).split("/")[0] not in others
        and (plan.folder / path).is_dir()
        and not (plan.folder / path / MARK).exists()
    ]
    if not wanted:
        return {}
    digests, file = Digests(plan.folder), plan.folder / STATE / "folders.json"
    with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
        digests.learn(json.loads(file.read_text("utf-8")))
    entries = digests.entries(wanted)
    with suppress(OSError):  # then they are read again next time
        atomic.write_if_changed(file, canonical(entries) + "\n", durable=False)
    return {path: entry["hash"] for path, entry in entries.items() if entry["hash"]}


def path_of(declared: str) -> str:
    """A declared path as files, records and DVC have it."""
    return os.path.normpath(declared)


def check(made: Plan, problem: Report) -> None:
    """Report what is wrong with `data:`: names, places, two that are one file or in one another."""
    if made.experiment.data and DATA in made.steps:
        kind = "studies" if DATA in made.experiment.studies else "steps"
        hint = f"choose another: {DATA}.NAME is an entry of `data:`"
        problem((kind, DATA), "this name is taken", value=DATA, hint=hint)
    ours = {made.results, made.logs, STATE}
    earlier: list[tuple[str, str]] = []
    for name, data in made.experiment.data.items():
        where = (DATA, name, "path")
        wrong = paths.file_problem(data.path.removeprefix("./"))
        if wrong or data.path.split("/")[0] in ours:
            expected = "a path inside the project, and not in what runs write"
            problem(where, "no place for raw data", value=data.path, expected=expected)
        own = paths.folded(path_of(data.path)) + "/"
        for other, second in earlier:
            if own.startswith(second) or second.startswith(own):
                word = "are one file" if own == second else "are one inside the other"
                problem(where, f"{other} and {name} {word}", value=data.path)
        earlier.append((name, own))
