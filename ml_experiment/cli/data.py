"""The commands that stand between an experiment and DVC, and their arguments."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from ml_experiment.cli import arguments
from ml_experiment.cli.commands import cores, experiment_file, overrides

LACKS = {
    "remote": "the remote lacks {}: `ml-experiment push`",
    "cache": "only the remote has {}: `ml-experiment pull`",
    "both": "neither cache nor remote has {}: `ml-experiment fsck` says what mends it",
}
SHOWN = 5  # jobs that are not current after a pull, outputs that are not to be had


def dvc(options: argparse.Namespace) -> int:
    """`ml-experiment dvc`."""
    from ml_experiment.services import dvc as service

    made = service.proposed(experiment_file(options), options.rule)
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

    status, left = service.stage(options.name, options.cores or cores(), rule=options.rule)
    for line in left:
        print(line, file=sys.stderr)
    return status or int(bool(left))


def push(options: argparse.Namespace) -> int:
    """`ml-experiment push`."""
    from ml_experiment import workspace
    from ml_experiment.services import exchange as service

    done = service.push(workspace.open_plan(), options.targets, options.remote)
    if done.objects or not done.nowhere:
        count = done.objects
        print(f"{count} objects sent" if count else "nothing to send: the remote has everything")
    _lacking(done.nowhere)
    return 1 if done.nowhere else 0


def _lacking(paths: Sequence[str]) -> None:
    for path in paths[:SHOWN]:
        print(f"{path}: neither in the cache nor to be had from the remote", file=sys.stderr)
    if len(paths) > SHOWN:
        print(f"… and {len(paths) - SHOWN} more", file=sys.stderr)
    if paths:
        print("whoever has it can push it; `snakemake` makes it anew", file=sys.stderr)


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
    if done.trouble:
        raise done.trouble
    _lacking(done.lacking)
    return 1 if done.lacking else 0


def status(options: argparse.Namespace) -> int:
    """`ml-experiment status --remote`."""
    from ml_experiment import workspace
    from ml_experiment.services import exchange as service

    plan = workspace.open_plan(experiment_file(options), overrides(options))
    found, ahead = service.compare(plan, options.remote or None, options.step)
    if options.json:
        differences = [each._asdict() for each in found]
        print(json.dumps({"differences": differences, "ahead": ahead}, indent=1))
        return 1 if found or ahead else 0
    for of in dict.fromkeys(each.of for each in found):
        for lacks, said in LACKS.items():
            paths = [each.path for each in found if each.of == of and each.lacks == lacks]
            if paths:
                more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
                print(f"{of}: {said.format(paths[0] + more)}")
    for name in ahead:
        print(f"{name}: not as dvc.lock has it: `ml-experiment status {name}`, `dvc repro {name}`")
    if not found and not ahead:
        print("the remote has everything that DVC keeps here, and nothing of it is lacking here")
    return 1 if found or ahead else 0


def data(options: argparse.Namespace) -> int:
    """`ml-experiment data`."""
    from ml_experiment import workspace
    from ml_experiment.services import data as service

    plan = workspace.open_plan(experiment_file(options))
    if options.action:
        act, word = {"get": (service.get, "fetched"), "add": (service.add, "added")}[options.action]
        done = act(plan, options.names)
        print(f"{word}: " + ", ".join(done) if done else "nothing to do")
        return 0
    items = service.listed(plan)
    if options.json:
        print(json.dumps([item._asdict() for item in items], indent=1))
    else:
        width = max((len(item.name) for item in items), default=0)
        for item in items:
            parts = [f"{item.name:<{width}}  {item.path}", item.state, (item.hash or "")[:8]]
            parts += [f"from {item.source}" if item.source else "", service.SAID[item.state]]
            print(" · ".join(filter(None, parts)))
        if not items:
            print("the experiment declares no raw data: `data:`")
    return 0 if all(item.state == "kept" for item in items) else 1


def fsck(options: argparse.Namespace) -> int:
    """`ml-experiment fsck`."""
    from ml_experiment import workspace
    from ml_experiment.services import fsck as service

    plan = workspace.open_plan()
    found = service.fsck(plan)
    if options.repair and found:
        left, trouble = service.repair(plan, found)
        if trouble:
            print(trouble, file=sys.stderr)
        mended = max(0, len(found) - len(left))
        print(f"{mended} of {len(found)} faults mended", file=sys.stderr)
        found = left
    if options.json:
        print(json.dumps([fault._asdict() for fault in found], indent=1))
    else:
        for fault in found:
            print(fault.said())
        if not found:
            print("no fault found: every object and output is what dvc.lock says")
    return 1 if found else 0


def add(commands: object) -> None:
    """The arguments of these commands."""
    _dvc(commands)
    _stage(commands)
    _push(commands)
    _pull(commands)
    _fsck(commands)
    _data(commands)


def _dvc(commands: object) -> None:
    command = arguments.command_of(
        commands,
        "dvc",
        "write the experiment's steps and studies as stages into dvc.yaml",
        "ml-experiment dvc",
        "ml-experiment dvc --dry-run     only the difference",
        "ml-experiment dvc --check       exit code 1 if dvc.yaml is not what the experiment says",
        "ml-experiment dvc --rule figure     a stage for a rule that was written by hand, too",
    )
    command.add_argument(
        "--experiment", metavar="FILE", help="the experiment file (experiment.yaml)"
    )
    command.add_argument("--dry-run", "-n", action="store_true", help="only show what would change")
    command.add_argument("--check", action="store_true", help="only say whether it is up to date")
    command.add_argument(
        "--rule",
        action="append",
        default=[],
        metavar="NAME",
        help="write a stage for this rule, written by hand, of what its last run read and made",
    )


def _stage(commands: object) -> None:
    command = arguments.command_of(
        commands,
        "stage",
        "make the outputs of one step or study that are not current; DVC's stages call it",
        "dvc repro                     all stages, each by this command",
        "ml-experiment stage fit --cores 2",
    )
    command.add_argument("name", metavar="NAME", help="a step or study")
    command.add_argument("--cores", "-c", type=int, metavar="N", help="how many cores (all)")
    command.add_argument(
        "--rule", action="store_true", help="NAME is a rule that was written by hand"
    )


def _push(commands: object) -> None:
    command = arguments.command_of(
        commands,
        "push",
        "send outputs and their records to DVC's remote",
        "ml-experiment push",
        "ml-experiment push fit --remote store     one step's",
    )
    _exchanged(command)


def _pull(commands: object) -> None:
    command = arguments.command_of(
        commands,
        "pull",
        "fetch outputs and their records from DVC's remote, so that Snakemake has nothing to do",
        "git clone … && cd … && ml-experiment pull && snakemake -n",
        "ml-experiment pull results/fit/model.bin     what there is of it",
    )
    _exchanged(command)


def _fsck(commands: object) -> None:
    command = arguments.command_of(
        commands,
        "fsck",
        "hash everything that DVC keeps, and say what is not what it should be; exit code 1 then",
        "ml-experiment fsck",
        "ml-experiment fsck --repair     what can be mended without losing anything",
    )
    command.add_argument("--repair", action="store_true", help="mend what can be mended")
    command.add_argument("--json", action="store_true", help="a list of faults as JSON")


def _data(commands: object) -> None:
    command = arguments.command_of(
        commands,
        "data",
        "say whether raw data are there and as DVC has them (exit code 1 if not), or fetch or add them",
        "ml-experiment data",
        "ml-experiment data get          what is not there: from DVC, else from where it comes from",
        "ml-experiment data add raw      what is there goes to DVC",
    )
    command.add_argument(
        "--experiment", metavar="FILE", help="the experiment file (experiment.yaml)"
    )
    command.add_argument("--json", action="store_true", help="a list as JSON")
    command.add_argument("action", nargs="?", choices=("get", "add"), help="fetch, or give to DVC")
    command.add_argument("names", nargs="*", metavar="NAME", help="entries of `data:` (all)")


def _exchanged(command: argparse.ArgumentParser) -> None:
    command.add_argument("--remote", metavar="NAME", help="one of DVC's remotes (the default one)")
    command.add_argument(
        "targets", nargs="*", metavar="TARGET", help="outputs, or steps and studies (everything)"
    )
