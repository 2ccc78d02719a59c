"""`python -m …`, after a run: what it has made goes to DVC, if it is what the experiment says.

A stage is committed only where every output is the one of its record, and its record is of the
experiment as it is written: no override, no variant, nothing stale, nothing edited by hand.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ml_experiment import stages, staleness, times, travelling, workspace
from ml_experiment.adapters import dvc, dvc_commit
from ml_experiment.digests import LISTINGS, Member, Stat, members
from ml_experiment.errors import MLExperimentError, UserError
from ml_experiment.plan import Plan
from ml_experiment.services import dvc as files
from ml_experiment.stages import Stage
from ml_experiment.staleness import State, Unit


class Committed(NamedTuple):
    """How many stages went to DVC, and why none did."""

    stages: int = 0
    refused: str = ""


def commit(file: Path) -> Committed:
    """Commit the stages that are current.

    Raises:
        UserError: what DVC says, or an output that changed meanwhile.
    """
    made = files.proposed(file)
    plan = workspace.open_plan(file)
    if not dvc.is_repository(plan.folder):
        return Committed(refused="there is no DVC repository, see `dvc init`")
    if files.FILE in files.changed(made):
        return Committed(refused="dvc.yaml is not up to date, see `ml-experiment dvc`")
    judged = staleness.judged(plan)
    current = _current(plan, judged, made.stages)
    wanted = [stage.name for stage in made.stages if stage.name in current]
    digests = _digests(plan, current)
    travelling.write(plan, wanted)
    known = {path: member for each in digests.values() for path, member in each.files}
    whole = {path: digest.whole for path, digest in digests.items()}

    def check(outs: Mapping[str, str]) -> None:
        """DVC has read parameters, code and inputs too, later than they were judged."""
        for path, digest in outs.items():
            if whole.get(path, digest) != digest:
                raise _other(plan.folder, path)
        again = workspace.open_plan(file)
        still = _current(again, staleness.judged(again), made.stages)
        for name in sorted({*wanted} - still):
            raise UserError(
                f"{name} is not what the experiment says any more: `ml-experiment status`"
            )

    dvc_commit.commit(plan.folder, wanted, known, check)
    if any(_has_moved(plan.folder / path, member) for path, member in known.items()):
        times.align(plan, judged, time.time_ns())
    _forget_listings(plan)
    return Committed(len(wanted))


def _other(folder: Path, path: str) -> UserError:
    """An output that is not the same for DVC as for its record."""
    if ignored := dvc.left_out(folder, path):
        what = f"DVC would leave out {ignored[0]}, by .dvcignore"
        return UserError(what, hint="outputs are kept whole, or not at all")
    return dvc_commit.changed(path)


def _has_moved(file: Path, member: Member) -> bool:
    """Whether DVC has put something of another time in the place of a file, such as a link."""
    return file.stat().st_mtime_ns != member.mtime


def prepare(file: Path) -> Committed:
    """Where it is the user who commits: write the records that go along, of the stages that are current.

    Raises:
        UserError, ExperimentError: what is wrong with the experiment.
    """
    plan = workspace.open_plan(file)
    made = [] if plan.suffix else files.made_of(file)
    travelling.write(plan, _current(plan, staleness.judged(plan), made))
    _forget_listings(plan)
    return Committed()


def _forget_listings(plan: Plan) -> None:
    """From here on DVC has them, or hashes by itself."""
    shutil.rmtree(plan.folder / LISTINGS, ignore_errors=True)


class _Digest(NamedTuple):
    """Of an output, and of each of the files that it is."""

    whole: str
    files: tuple[tuple[str, Member], ...]


def _digests(plan: Plan, current: Collection[str]) -> dict[str, _Digest]:
    """The outputs of some stages, each just compared with its record."""
    _, digests, known = staleness.told(plan)
    found = {}
    for unit in [*staleness.units(plan), *staleness.by_hand(plan, known)]:
        if staleness.stage_of(plan, unit) not in current:
            continue
        for path in unit.outputs:
            if path in known[unit.job]["outputs"] and digests.of(path) is not None:
                found[path] = _of(plan.folder, path, *digests.known[path])
    return found


def _of(folder: Path, path: str, stat: Stat, digest: str) -> _Digest:
    if stat.folder:
        listed = members(folder, digest)
        return _Digest(digest, tuple((f"{path}/{name}", each) for name, each in listed.items()))
    return _Digest(digest, ((path, Member(digest, stat.what, stat.size, stat.mtime)),))


def _current(plan: Plan, judged: Sequence[tuple[Unit, State]], made: Sequence[Stage]) -> set[str]:
    """The stages all of whose jobs are what the experiment says."""
    stale: set[str] = set()
    found: set[str] = set()
    for unit, state in judged:
        if unit.step in plan.steps:
            (found if state.word == "current" else stale).add(staleness.stage_of(plan, unit))
    of_rules = (stage for stage in made if stage.by_hand)
    return found - stale | {each.name for each in of_rules if not stages.due(each, judged)}


def main() -> int:
    """Commit, and say in JSON what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--overridden", action="store_true")
    parser.add_argument("--manual", action="store_true")
    options = parser.parse_args()
    if options.overridden:
        done = Committed(refused="it has values that the experiment file does not have")
    else:
        try:
            done = prepare(options.file) if options.manual else commit(options.file)
        except UserError as error:
            done = Committed(refused=error.problem.brief())
        except MLExperimentError:
            done = Committed(refused="the experiment has mistakes: `ml-experiment check`")
    print(json.dumps(done._asdict()))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
