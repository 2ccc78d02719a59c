"""The commands that stand between an experiment and DVC."""

from __future__ import annotations

import argparse
import json
import sys

from ml_experiment.cli.commands import cores, experiment_file

SHOWN = 5  # jobs that are not current after a pull


def dvc(options: argparse.Namespace) -> int:
    """`ml-experiment dvc`."""
    from ml_experiment.services import dvc as service

    made = service.proposed(experiment_file(options))
    if options.check:
        changed = service.changed(made)
        for name in changed:
            print(f"{name} is not what the experiment says: run `ml-experiment dvc`")
        sys.stdout.write(service.difference(made))
        return 1 if changed else 0
    if options.dry_run:
        sys.stdout.write(service.difference(made))
        return 0
    written = service.write(made)
    print("written: " + ", ".join(written) if written else "nothing to change")
    for note in service.notes(made):
        print(f"note: {note}", file=sys.stderr)
    return 0


def stage(options: argparse.Namespace) -> int:
    """`ml-experiment stage`."""
    from ml_experiment.services import stage as service

    status, left = service.stage(options.name, options.cores or cores())
    if status:
        return status
    for state in left:
        print(f"{state.job} is {state.word}: {', '.join(state.reasons)}", file=sys.stderr)
    return 1 if left else 0


def push(options: argparse.Namespace) -> int:
    """`ml-experiment push`."""
    from ml_experiment import workspace
    from ml_experiment.services import exchange as service

    count = service.push(workspace.open_plan(), options.targets, options.remote)
    print(f"{count} objects sent" if count else "nothing to send: the remote has everything")
    return 0


def pull(options: argparse.Namespace) -> int:
    """`ml-experiment pull`."""
    from ml_experiment import workspace
    from ml_experiment.services import exchange as service

    done = service.pull(workspace.open_plan(), options.targets, options.remote)
    print(f"{done.files} objects fetched, {done.records} records added")
    for state in done.left[:SHOWN]:
        why = ", ".join(state.reasons)
        print(f"  {state.job}: {state.word}" + (f": {why}" if why else ""))
    if len(done.left) > SHOWN:
        print(f"  … and {len(done.left) - SHOWN} more: `ml-experiment status`")
    return 0


def fsck(options: argparse.Namespace) -> int:
    """`ml-experiment fsck`."""
    from ml_experiment import workspace
    from ml_experiment.services import fsck as service

    plan = workspace.open_plan()
    found = service.fsck(plan)
    if options.repair and found:
        left = service.repair(plan, found)
        print(f"{len(found) - len(left)} of {len(found)} faults mended", file=sys.stderr)
        found = left
    if options.json:
        print(json.dumps([fault._asdict() for fault in found], indent=1))
    else:
        for fault in found:
            print(f"{fault.where}: {fault.path} {fault.what}; {service.SAID[fault.repair]}")
        if not found:
            print("no fault found: every object and output is what dvc.lock says")
    return 1 if found else 0
