"""`ml-experiment`: the arguments of every command, and what becomes of an error.

Exit codes: 0 as asked, 1 not (something is stale, a job failed), 2 a mistake in what was given,
130 interrupted. Nothing heavy is imported before a command is known.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence

from ml_experiment import __version__

EPILOG = """\
examples:
  ml-experiment init paper && cd paper     a project that runs at once
  ml-experiment add train.py               a step from an unmodified script
  ml-experiment check                      every mistake, before anything runs
  ml-experiment run --cores 4              or: snakemake --cores 4
  ml-experiment run --set steps.fit.params.C=3 --variant smoke
  ml-experiment status                     what is stale, and why
"""


def parser() -> argparse.ArgumentParser:
    """All commands and their arguments."""
    top = argparse.ArgumentParser(
        prog="ml-experiment",
        description="Machine-learning experiments that can be run again, on Snakemake.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"ml-experiment {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _init(commands)
    _add(commands)
    _check(commands)
    _run(commands)
    _status(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    ours, theirs = _split(given)
    options = parser().parse_args(ours)
    options.snakemake = theirs
    if theirs and options.command != "run":
        parser().error("only `run` takes words for Snakemake behind --")
    gc.disable()  # a short process that makes no garbage: a tenth of the time of `status`
    from ml_experiment.cli import commands
    from ml_experiment.errors import MLExperimentError

    try:
        return int(getattr(commands, options.command)(options))
    except MLExperimentError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `ml-experiment status | head`
        sys.stderr.close()
        return 141


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """What is ours, and what behind `--` is Snakemake's."""
    if "--" not in words:
        return words, []
    place = words.index("--")
    return words[:place], words[place + 1 :]


def _command(commands: object, name: str, help_: str, *examples: str) -> argparse.ArgumentParser:
    assert isinstance(commands, argparse._SubParsersAction)  # noqa: SLF001  # argparse has no public name
    return commands.add_parser(  # type: ignore[no-any-return]  # for the same reason
        name,
        help=help_,
        description=help_[0].upper() + help_[1:] + ".",
        epilog="examples:\n" + "\n".join(f"  {line}" for line in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _experiment(command: argparse.ArgumentParser) -> None:
    """Which experiment: the arguments that several commands share."""
    command.add_argument(
        "--experiment", metavar="FILE", help="the experiment file (experiment.yaml)"
    )
    command.add_argument("--variant", metavar="NAME", help="a variant that the experiment declares")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key, such as steps.fit.params.C=3; may be given again",
    )


def _init(commands: object) -> None:
    command = _command(
        commands,
        "init",
        "make a project that runs at once",
        "ml-experiment init            in this folder, beside what is there",
        "ml-experiment init paper      in a new folder",
        "ml-experiment init --empty    without the demonstration, for scripts of one's own",
    )
    command.add_argument(
        "--empty", action="store_true", help="an experiment without steps, for scripts of one's own"
    )
    command.add_argument("folder", nargs="?", default=".", help="where (this folder)")
    command.add_argument(
        "--dry-run", "-n", action="store_true", help="only say what would be written"
    )


def _add(commands: object) -> None:
    command = _command(
        commands,
        "add",
        "read a script's arguments and files, and add it as a step",
        "ml-experiment add train.py",
        "ml-experiment add scripts/train.py --name fit --dry-run",
    )
    command.add_argument("script", help="a program that runs from the command line")
    command.add_argument("--name", help="the step's name (the script's)")
    command.add_argument(
        "--experiment", metavar="FILE", help="the experiment file (experiment.yaml)"
    )
    command.add_argument("--dry-run", "-n", action="store_true", help="only print the step")


def _check(commands: object) -> None:
    command = _command(
        commands,
        "check",
        "find every mistake without running anything",
        "ml-experiment check",
        "ml-experiment check --variant smoke --json",
    )
    _experiment(command)
    command.add_argument("--json", action="store_true", help="the problems as JSON")


def _run(commands: object) -> None:
    command = _command(
        commands,
        "run",
        "run what is not up to date: snakemake with this project's profile",
        "ml-experiment run                                   on all cores",
        "ml-experiment run --cores 2 results/fit/metrics.json",
        "ml-experiment run --set steps.fit.params.C=3",
        "ml-experiment run -- --executor slurm --jobs 20     what is behind -- is Snakemake's",
    )
    _experiment(command)
    command.add_argument("--cores", "-c", type=int, metavar="N", help="how many cores (all)")
    command.add_argument("--dry-run", "-n", action="store_true", help="only say what would run")
    command.add_argument(
        "targets", nargs="*", metavar="TARGET", help="files or steps to make (everything)"
    )


def _status(commands: object) -> None:
    command = _command(
        commands,
        "status",
        "say what is current, and why the rest is not; exit code 1 if anything is not",
        "ml-experiment status",
        "ml-experiment status fit      each job of a step",
        "ml-experiment status --json | jq '.[] | select(.state != \"current\")'",
    )
    _experiment(command)
    command.add_argument("step", nargs="?", help="one step")
    command.add_argument("--json", action="store_true", help="a list of jobs as JSON")


if __name__ == "__main__":
    sys.exit(main())
