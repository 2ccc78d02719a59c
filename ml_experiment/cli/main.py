"""`ml-experiment`: the arguments of every command, and what becomes of an error.

Exit codes: 0 as asked, 1 not (something is stale, a job failed), 2 a mistake in what was given,
130 interrupted. Nothing heavy is imported before a command is known.
"""

from __future__ import annotations

import argparse
import gc
import io
import sys
from collections.abc import Sequence

from ml_experiment import __version__
from ml_experiment.cli import arguments
from ml_experiment.cli.data import add as add_data
from ml_experiment.cli.environments import add as add_environments
from ml_experiment.cli.models import add as add_models

EPILOG = """\
examples:
  ml-experiment init paper && cd paper     a project that runs at once
  ml-experiment add train.py               a step from an unmodified script
  ml-experiment check                      every mistake, before anything runs
  ml-experiment run --cores 4              or: snakemake --cores 4
  ml-experiment run --set steps.fit.params.C=3 --variant smoke
  ml-experiment status                     what is stale, and why
  ml-experiment studies                    how far the studies are, and their best trials
  ml-experiment lineage results/fit/model.bin    what it was made from
"""
TRACKING = ("runs", "track", "ui")  # the commands of cli/tracking.py
DATA = ("data", "dvc", "fsck", "pull", "push", "stage")  # those of cli/data.py
STUDIES_JSON = """

--json prints a list:
  without NAME   one object for each study and case: study, case, state (complete, unfinished, not
                 begun), declared, done, complete, failed, pruned, removed, stopped, objectives,
                 best [{number, params, values}], changed
  with NAME      one object for each trial: study, case, number, state, values, params, reason
"""
STATUS_JSON = """

--json with --remote prints one object:
  differences    [{path, of: the step or raw data, lacks: remote, cache or both}]
  ahead          the steps whose outputs are not as dvc.lock has them, so that no remote can
"""
LINEAGE_JSON = """

--json prints one object:
  path, hash     the version of the file that is meant
  state          recorded; raw (no job made it); changed, deleted (not as the last record has it);
                 unhashed (no record says what its bytes were)
  now            the hash of what is there, or null
  remark         what to know of the difference, or null
  job            the job that made it, or null
  jobs           {id: job}: each job once; a job is its record, with
    inputs       [{path, hash, made_by: id or null, note}]; an id that is not in jobs: cut by --depth
    outputs      [{path, hash, note}]
with --downstream, `used_by` (a list of ids) in place of `job`, and one in each output
"""
DIFF_JSON = """

diff --json prints one object; pairs are {name: [before, now]}, null where it is not there:
  first, second  the ids of the runs; a job that one did not run is as it was then
  run            pairs: experiment, file, seed, config, commit, hostname, cpu, gpus, versions
  jobs           [{job, only (first, second, null), key, and pairs: state, params, seed, metrics,
                 inputs, outputs (digests), packages, surroundings}]
  same           how many jobs do not differ
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
    _studies(commands)
    add_data(commands)
    add_environments(commands)
    add_models(commands)
    _lineage(commands)
    _runs(commands)
    _track(commands)
    _ui(commands)
    return top


def _speak_any_character() -> None:
    """Where the terminal's encoding has no `·` a `?` is shown."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    ours, theirs = _split(given)
    options = parser().parse_args(ours)
    options.snakemake = theirs
    if theirs and options.command not in ("run", "env"):
        parser().error("only `run` takes words for Snakemake behind --")
    _speak_any_character()
    gc.disable()  # a short process that makes no garbage: a tenth of the time of `status`
    from ml_experiment.errors import MLExperimentError

    if options.command in TRACKING:
        from ml_experiment.cli import tracking as commands
    elif options.command == "models":
        from ml_experiment.cli import models as commands  # type: ignore[no-redef]
    elif options.command in DATA or getattr(options, "remote", None) is not None:
        from ml_experiment.cli import data as commands  # type: ignore[no-redef]
    elif options.command == "env":
        from ml_experiment.cli import environments as commands  # type: ignore[no-redef]
    elif options.command == "studies":
        from ml_experiment.cli import studies as commands  # type: ignore[no-redef]
    else:
        from ml_experiment.cli import commands  # type: ignore[no-redef]
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
    except OSError as error:  # no permission, a full disk
        place = f"{error.filename}: " if error.filename else ""
        print(f"{place}{error.strerror or error}", file=sys.stderr)
        return 2


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """What is ours, and what behind `--` is Snakemake's."""
    if "--" not in words:
        return words, []
    place = words.index("--")
    return words[:place], words[place + 1 :]


def _init(commands: object) -> None:
    command = arguments.command_of(
        commands,
        "init",
        "make a project that runs at once",
        "ml-experiment init            in this folder, beside what is there",
        "ml-experiment init paper      in a new folder",
        "ml-experiment init --empty    without the demonstration, for scripts of one's own",
        "ml-experiment init --profiles     those for clusters, for a project that is there",
    )
    command.add_argument(
        "--empty", action="store_true", help="an experiment without steps, for scripts of one's own"
    )
    command.add_argument(
        "--profiles", action="store_true", help="only Snakemake's profiles for clusters"
    )
    command.add_argument("folder", nargs="?", default=".", help="where (this folder)")
    command.add_argument(
        "--dry-run", "-n", action="store_true", help="only say what would be written"
    )


def _add(commands: object) -> None:
    command = arguments.command_of(
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
    command = arguments.command_of(
        commands,
        "check",
        "find every mistake without running anything",
        "ml-experiment check",
        "ml-experiment check --variant smoke --json",
    )
    arguments.of_experiment(command)
    command.add_argument("--json", action="store_true", help="the problems as JSON")


def _run(commands: object) -> None:
    command = arguments.command_of(
        commands,
        "run",
        "run what is not up to date: snakemake with this project's profile",
        "ml-experiment run                                   on all cores",
        "ml-experiment run --cores 2 results/fit/metrics.json",
        "ml-experiment run --set steps.fit.params.C=3",
        "ml-experiment run -- --executor slurm --jobs 20     what is behind -- is Snakemake's",
    )
    arguments.of_experiment(command)
    command.add_argument("--cores", "-c", type=int, metavar="N", help="how many cores (all)")
    command.add_argument("--dry-run", "-n", action="store_true", help="only say what would run")
    command.add_argument(
        "targets", nargs="*", metavar="TARGET", help="files or steps to make (everything)"
    )


def _status(commands: object) -> None:
    command = arguments.command_of(
        commands,
        "status",
        "say what is current, and why the rest is not; exit code 1 if anything is not",
        "ml-experiment status",
        "ml-experiment status fit      each job of a step",
        "ml-experiment status --json | jq '.[] | select(.state != \"current\")'",
        "ml-experiment status --remote         what DVC's remote lacks, or has and is not here",
    )
    command.epilog = f"{command.epilog}{STATUS_JSON}"
    arguments.of_experiment(command)
    command.add_argument("step", nargs="?", help="one step")
    command.add_argument("--json", action="store_true", help="a list of jobs as JSON")
    command.add_argument(
        "--remote",
        nargs="?",
        const="",
        metavar="NAME",
        help="compare what DVC keeps here with one of its remotes (the default one); exit code 1 "
        "if one of the two lacks anything",
    )


def _studies(commands: object) -> None:
    command = arguments.command_of(
        commands,
        "studies",
        "say how far studies are, and what their trials tried and gave",
        "ml-experiment studies",
        "ml-experiment studies tune                       its trials",
        "ml-experiment studies tune --sort value | head   the best ones",
        "ml-experiment studies tune --case method=svm",
        "ml-experiment studies --json | jq '.[].best[0].params'",
        "ml-experiment studies tune --remove 7 12         their results do not count any more",
        "ml-experiment studies tune --import sqlite:///old.db --study-name first --dry-run",
        "ml-experiment studies tune --import journal.log --at-most 10",
    )
    command.epilog = f"{command.epilog}{STUDIES_JSON}"
    arguments.of_experiment(command)
    command.add_argument("name", nargs="?", metavar="NAME", help="one study: its trials")
    command.add_argument(
        "--case", metavar="AXIS=VALUE", help="only this case of NAME, such as method=svm,size=3"
    )
    command.add_argument(
        "--sort",
        choices=("number", "value"),
        default="number",
        help="the trials by number, or the best first (number)",
    )
    command.add_argument("--json", action="store_true", help="a list as JSON, see below")
    command.add_argument(
        "--remove",
        nargs="+",
        type=arguments.whole,
        metavar="N",
        help="write these trials of NAME into its `remove` in the experiment file: they do not "
        "count any more, and the others stay as they are",
    )
    command.add_argument(
        "--import",
        dest="storage",
        metavar="STORAGE",
        help="write what the trials of an Optuna storage tried into the `enqueue` of NAME, the "
        "best first: sqlite:///FILE.db, or the path of an SQLite or journal file; it is only read",
    )
    command.add_argument("--study-name", metavar="X", help="the study in STORAGE (the only one)")
    command.add_argument(
        "--at-most", type=arguments.positive, metavar="N", help="import the first N only"
    )
    command.add_argument(
        "--dry-run", "-n", action="store_true", help="only say what would be written"
    )


def _lineage(commands: object) -> None:
    command = arguments.command_of(
        commands,
        "lineage",
        "say what a file was made from: jobs, data, code, seeds, by its records",
        "ml-experiment lineage results/evaluate/scores.json",
        "ml-experiment lineage data/raw.csv --downstream       what was made from it",
        "ml-experiment lineage results/fit/model.bin --json | jq .job.params",
    )
    command.epilog = f"{command.epilog}{LINEAGE_JSON}"
    command.add_argument("path", help="a file or folder of the project")
    command.add_argument(
        "--downstream", action="store_true", help="what was made from it, not what it is made from"
    )
    command.add_argument(
        "--depth",
        type=arguments.positive,
        metavar="N",
        help="at most N jobs away (100; with --json, all)",
    )
    command.add_argument(
        "--all", action="store_true", help="also where a job has more than 12 inputs of one rule"
    )
    command.add_argument("--json", action="store_true", help="one object as JSON, see below")


def _runs(commands: object) -> None:
    command = arguments.command_of(
        commands,
        "runs",
        "say what was run: when, what, how long, metrics; and in what two runs differ",
        "ml-experiment runs",
        "ml-experiment runs last           the jobs of the last run",
        "ml-experiment runs 20261125T2006  those of the run whose id begins so",
        "ml-experiment runs --json | jq '.[-1].metrics'",
        "ml-experiment runs diff           the last run and the one before; exit code 1 if they differ",
        "ml-experiment runs diff last~3 last --json | jq '.jobs[].packages'",
    )
    command.epilog = f"{command.epilog}{DIFF_JSON}"
    command.add_argument(
        "run", nargs="*", metavar="RUN",
        help="a run's id or its beginning, `last`, or `last~1` for the one before; or `diff A B` (last~1 last)",
    )  # fmt: skip
    command.add_argument(
        "--last",
        "-n",
        type=arguments.positive,
        default=20,
        metavar="N",
        help="the last N runs (20)",
    )
    command.add_argument("--json", action="store_true", help="a list as JSON")


def _track(commands: object) -> None:
    command = arguments.command_of(
        commands,
        "track",
        "send records to MLflow that wait; exit code 1 if some are refused, 2 if nobody answers",
        "ml-experiment track",
        "MLFLOW_TRACKING_URI=http://127.0.0.1:5000 ml-experiment track",
        "ml-experiment track --to http://127.0.0.1:5000   everything, into another server",
    )
    command.add_argument("--to", metavar="URI", help="a server or database that gets everything")


def _ui(commands: object) -> None:
    command = arguments.command_of(
        commands,
        "ui",
        "start MLflow's page for this project, on this machine only",
        "ml-experiment ui",
        "ml-experiment ui --port 5001",
    )
    command.add_argument(
        "--port", type=arguments.positive, metavar="N", help="its port (the first from 5000)"
    )


if __name__ == "__main__":
    sys.exit(main())
