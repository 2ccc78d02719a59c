"""`ml-experiment env`: its commands, their arguments, and what they print."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ml_experiment.cli import arguments
from ml_experiment.errors import UserError

if TYPE_CHECKING:
    from ml_experiment.adapters.docker import Engine
    from ml_experiment.services.building import Built

FEW = 10  # files that differ
SHORT = 19  # characters of an image's id: sha256: and twelve more
JSON = """

--json prints a list:
  list    {name, kind, base, image, state (ready, stale, missing, not built, not locked, wrong), remark,
          host (current, venv), venv (made, not made, or what is wrong with it)}
  check   {name, what, hint}: what is wrong
  pulled  {address, image, registry, file, remark}
"""


def env(options: argparse.Namespace) -> int:
    """`ml-experiment env`."""
    if options.snakemake and options.action != "shell":
        raise UserError(
            "only `env shell` takes a program behind --", value=" ".join(options.snakemake)
        )
    done: int = _ACTIONS[options.action](options)
    return done


def _list(options: argparse.Namespace) -> int:
    from ml_experiment.services import environments as service
    from ml_experiment.services import hosting

    engine, why = _engine_or_why()
    found = service.entries(Path.cwd(), engine)
    hosts = [hosting.state(Path.cwd(), entry.name) for entry in found]
    if options.json:
        listed = [
            {**service.data(entry), "host": host, "venv": state or None}
            for entry, (host, state) in zip(found, hosts, strict=True)
        ]
        print(json.dumps(listed, indent=1))
        return 0
    width = max((len(entry.name) for entry in found), default=0)
    for entry, (host, state) in zip(found, hosts, strict=True):
        image = entry.image[:SHORT] if entry.image else "-"
        line = f"{entry.name:<{width}}  {entry.kind or '-':<10}  {entry.state:<10}  {image}"
        more = [entry.remark, f"on the host: venv, {state}" if host == "venv" else ""]
        print("  ".join([line, *filter(None, more)]))
    if not found:
        print("no environments: make envs/NAME/requirements.txt", file=sys.stderr)
    if why:
        print(f"no engine was asked: {why}", file=sys.stderr)
    return 0


def _engine_or_why() -> tuple[Engine | None, str]:
    from ml_experiment.adapters.docker import Engine

    try:
        return Engine(), ""
    except UserError as error:
        return None, error.problem.what


def _lock(options: argparse.Namespace) -> int:
    if options.host:
        return _lock_host(options)
    from ml_experiment.services import building as service

    with _asked(options.names) as (engine, names):
        for name in names:
            with _telling() as say:
                locked = service.lock(Path.cwd(), name, engine, say)
            made = (
                locked.image[:SHORT] if locked.image else "not built yet: `ml-experiment env build`"
            )
            print(f"{name}: locked for {locked.platform}; image {made}")
    return 0


def _lock_host(options: argparse.Namespace) -> int:
    from ml_experiment.services import hosting

    for name in _meant(options.names):
        with _telling() as say:
            new = hosting.lock(Path.cwd(), name, say)
        print(f"{name}: envs/{name}/requirements.lock is {'written' if new else 'as it was'}")
    return 0


def _build(options: argparse.Namespace) -> int:
    if options.host:
        return _build_host(options)
    from ml_experiment.services import building as service

    status = 0
    with _asked(options.names) as (engine, names):
        for name in names:
            with _telling() as say:
                built = service.build(
                    Path.cwd(), name, engine, say, again=options.again, accept=options.accept
                )
            print("\n".join(_told(name, built)))
            status = max(status, 0 if built.written else 1)
    return status


def _build_host(options: argparse.Namespace) -> int:
    from ml_experiment import venvs
    from ml_experiment.adapters import pip
    from ml_experiment.services import hosting

    for name in hosting.own(Path.cwd(), options.names):
        with _telling() as say:
            made = pip.make(Path.cwd(), name, say)
        print(f"{name}: {venvs.folder(Path.cwd(), name)}" + ("" if made else ", as it was"))
    return 0


def _told(name: str, built: Built) -> Iterator[str]:
    """What a build has come to."""
    image = (built.lock.image or "")[:SHORT]
    if built.same:
        again = ", byte for byte the image that is locked" if built.again else ""
        yield f"{name}: {image}{again}"
        return
    yield f"{name}: {image} is not the image that is locked"
    if built.packages:
        yield from (f"  {line}" for line in built.packages)
    else:
        yield "  the packages are the same"
    if built.files is None:
        yield "  which files differ is not known: the engine does not have the image that is locked"
    else:
        many = "1 file differs" if len(built.files) == 1 else f"{len(built.files)} files differ"
        yield f"  {many}"
        yield from (f"    {line}" for line in built.files[:FEW])
        if len(built.files) > FEW:
            yield f"    … and {len(built.files) - FEW} more"
    where = f"envs/{name}/image.lock"
    accept = f"`ml-experiment env build {name} --again --accept` takes the new one"
    yield f"  {where} has it now" if built.written else f"  {where} is as it was; {accept}"


def _check(options: argparse.Namespace) -> int:
    from ml_experiment.services import environments as service

    if options.host:
        from ml_experiment.services import hosting

        names = _meant(options.names)
        found = hosting.check(Path.cwd(), names)
    else:
        with _asked(options.names) as (engine, names):
            found = service.check(Path.cwd(), names, engine)
    if options.json:
        print(json.dumps([service.data(fault) for fault in found], indent=1))
    else:
        for fault in found:
            print(f"{fault.name}: {fault.what}" + (f"; to do: {fault.hint}" if fault.hint else ""))
        if not found:
            print(f"{', '.join(names)}: no fault found")
    return 1 if found else 0


def _export(options: argparse.Namespace) -> int:
    from ml_experiment.services import environments as service

    target = Path(options.file or f"{options.name}.image.tar")
    with _asked([options.name]) as (engine, _):
        size = service.export(Path.cwd(), options.name, engine, target)
    print(f"{target}: {size / 1e6:,.0f} MB; elsewhere: docker load --input {target}")
    return 0


def _shell(options: argparse.Namespace) -> int:
    from ml_experiment.services import environments as service

    words = options.snakemake
    if options.host:
        from ml_experiment.services import hosting

        with _telling() as say:
            return hosting.shell(Path.cwd(), options.name, words, say)
    with _asked([options.name]) as (engine, _):
        return service.shell(Path.cwd(), options.name, engine, words, network=options.network)


def _pulled(options: argparse.Namespace) -> int:
    from ml_experiment.services import environments as service

    engine, why = _engine_or_why()
    found = service.pulled(Path.cwd(), engine)
    if options.json:
        print(json.dumps([service.data(each) for each in found], indent=1))
        return 0
    for each in found:
        print(f"{each.address}  {each.registry or each.image}")
        print(f"  {each.file}" + (f": {each.remark}" if each.remark else ""))
    if not found:
        print("nothing was pulled for Docker here", file=sys.stderr)
    if why:
        print(f"no engine was asked: {why}", file=sys.stderr)
    return 0


def _launcher(_options: argparse.Namespace) -> int:
    from ml_experiment import launcher

    print(launcher.folder())
    return 0


@contextmanager
def _asked(names: Sequence[str]) -> Iterator[tuple[Engine, list[str]]]:
    """The engine, and the environments that are meant: all where none is named."""
    from ml_experiment import environments
    from ml_experiment.adapters.docker import Engine

    here = Path.cwd()
    known = [n for n in _meant(names) if names or not environments.only_modules(here, n)]
    engine = Engine()
    try:
        yield engine, known
    finally:
        engine.close()


def _meant(names: Sequence[str]) -> list[str]:
    from ml_experiment import environments

    known = list(names) or environments.folders(Path.cwd())
    if not known:
        raise UserError("no environments", where="envs/", hint="make envs/NAME/requirements.txt")
    return known


def _telling() -> AbstractContextManager[Callable[[str], None]]:
    from ml_experiment.adapters.terminal import telling

    return telling(sys.stderr)


_ACTIONS = {
    "build": _build,
    "check": _check,
    "export": _export,
    "launcher": _launcher,
    "list": _list,
    "lock": _lock,
    "pulled": _pulled,
    "shell": _shell,
}


def add(commands: object) -> None:
    """The arguments of these commands."""
    top = arguments.command_of(
        commands,
        "env",
        "environments: their images for containers, and with --host what the host has",
        "ml-experiment env list           the environments in envs/, and their images",
        "ml-experiment env lock sklearn   pin the base image, and packages with their hashes",
        "ml-experiment env build          build what is not there; writes image.lock",
        "ml-experiment env check          what keeps jobs from running in their images",
        "ml-experiment env shell sklearn  a shell in the image",
        "ml-experiment env export sklearn",
    )
    actions = top.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action in (
        _add_list,
        _add_lock,
        _add_build,
        _add_check,
        _add_shell,
        _add_launcher,
        _add_pulled,
        _add_export,
    ):
        action(actions)


def _add_list(actions: object) -> None:
    listed = arguments.command_of(
        actions, "list", "say which environments there are", "ml-experiment env list --json"
    )
    listed.epilog = f"{listed.epilog}{JSON}"
    listed.add_argument("--json", action="store_true", help="a list as JSON, see below")


def _add_lock(actions: object) -> None:
    lock = arguments.command_of(
        actions, "lock", "pin base images by digest, and Python's packages with their hashes; nothing is built",
        "ml-experiment env lock sklearn",
        "ml-experiment env lock sklearn --host    packages only, for this machine's Python",
    )  # fmt: skip
    _named(lock)
    _host(lock, "pin packages for this machine's Python; no engine is asked")


def _add_build(actions: object) -> None:
    build = arguments.command_of(
        actions, "build", "have the images: build them from their locks, or fetch them; exit code 1 if "
        "one is not what its lock says",
        "ml-experiment env build",
        "ml-experiment env build sklearn --again    build it anew, and say what differs",
        "ml-experiment env build sklearn --host     make its virtual environment",
    )  # fmt: skip
    _named(build)
    _host(build, "make the virtual environments that runs on the host would make")
    build.add_argument(
        "--again", action="store_true", help="also what is there, and compare the two"
    )
    build.add_argument("--accept", action="store_true", help="write another image into image.lock")


def _add_check(actions: object) -> None:
    check = arguments.command_of(
        actions, "check", "say what keeps jobs from running in their images; exit code 1 then",
        "ml-experiment env check sklearn",
    )  # fmt: skip
    check.epilog = f"{check.epilog}{JSON}"
    _named(check)
    _host(check, "whether virtual environments are made, and are what is locked")
    check.add_argument("--json", action="store_true", help="a list as JSON, see below")


def _add_shell(actions: object) -> None:
    shell = arguments.command_of(
        actions, "shell", "a shell, or a program, in an image, as a job has it",
        "ml-experiment env shell sklearn",
        "ml-experiment env shell sklearn -- python -m pip list",
    )  # fmt: skip
    shell.add_argument("name", metavar="NAME", help="an environment")
    _host(shell, "with the Python that jobs have on this machine, without an image")
    shell.add_argument("--network", action="store_true", help="with this machine's network")


def _add_launcher(actions: object) -> None:
    arguments.command_of(
        actions, "launcher", "print the folder of a program `apptainer` that runs Docker in its place, for any "
        "workflow whose rules have `container:`",
        'PATH="$(ml-experiment env launcher):$PATH" snakemake --cores 4 --sdm apptainer',
    )  # fmt: skip


def _add_pulled(actions: object) -> None:
    pulled = arguments.command_of(
        actions, "pulled", "say which images Snakemake has pulled here for `container:`, where Docker runs them",
        "ml-experiment env pulled",
    )  # fmt: skip
    pulled.epilog = f"{pulled.epilog}{JSON}"
    pulled.add_argument("--json", action="store_true", help="a list as JSON, see below")


def _add_export(actions: object) -> None:
    export = arguments.command_of(
        actions, "export", "write an image as a file for `docker load`",
        "ml-experiment env export sklearn",
        "ml-experiment env export sklearn paper/sklearn.tar",
    )  # fmt: skip
    export.add_argument("name", metavar="NAME", help="an environment")
    export.add_argument("file", nargs="?", metavar="FILE", help="the file (NAME.image.tar)")


def _named(command: argparse.ArgumentParser) -> None:
    command.add_argument("names", nargs="*", metavar="NAME", help="environments (all)")


def _host(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument("--host", action="store_true", help=what)
