"""What the arguments of several commands are made with."""

from __future__ import annotations

import argparse


def command_of(commands: object, name: str, help_: str, *examples: str) -> argparse.ArgumentParser:
    """A command with its help, which ends with examples."""
    assert isinstance(commands, argparse._SubParsersAction)  # noqa: SLF001  # argparse has no public name
    return commands.add_parser(  # type: ignore[no-any-return]  # for the same reason
        name,
        help=help_,
        description=help_[0].upper() + help_[1:] + ".",
        epilog="examples:\n" + "\n".join(f"  {line}" for line in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def of_experiment(command: argparse.ArgumentParser) -> None:
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


def whole(text: str) -> int:
    """A number from 0, of the command line."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 0")
    return int(text)


def positive(text: str) -> int:
    """A number from 1, of the command line."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 1")
    return number
