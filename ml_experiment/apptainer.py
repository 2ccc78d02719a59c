"""Apptainer's command line, and what Docker's program is told for the same.

Snakemake runs rules with `container:` by Apptainer alone. Where only Docker is, a program of ours takes
its place (`services/apptainer.py`): it understands the words here, and refuses any other by its name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ml_experiment.errors import UserError

# What each option is called here. Others are refused: they would be passed over in silence.
SWITCHES: Mapping[str, str] = {
    **dict.fromkeys(("--contain", "-c"), "contain"),
    **dict.fromkeys(("--containall", "-C"), "containall"),
    **dict.fromkeys(("--cleanenv", "-e"), "cleanenv"),
    **dict.fromkeys(("--net", "-n"), "net"),
    **dict.fromkeys(("--nv", "--nvccli"), "nv"),
    **dict.fromkeys(("--force", "-F"), "force"),
    "--compat": "compat",
    "--no-home": "no_home",
    "--writable-tmpfs": "writable_tmpfs",
}
VALUES: Mapping[str, str] = {
    **dict.fromkeys(("--bind", "-B"), "bind"),
    **dict.fromkeys(("--home", "-H"), "home"),
    **dict.fromkeys(("--pwd", "--cwd"), "pwd"),
    "--cpus": "cpus",
    "--dir": "dir",
    "--env": "env",
    "--hostname": "hostname",
    "--memory": "memory",
    "--mount": "mount",
    "--name": "name",
    "--network": "network",
    "--no-mount": "no_mount",
}
# What holds in Docker anyway, or says how much is printed.
NOTHING = frozenset(
    re.findall(
        r"\S+",
        """--debug -d --verbose -v --quiet -q --silent -s --nocolor --pid -p --ipc -i --uts --userns -u
        --no-init --no-umask --no-eval --no-nv --no-rocm --disable-cache --allow-unsigned -U""",
    )
)
MOUNTS = frozenset({"tmp", "home", "cwd", "hostfs", "bind-paths", "devpts"})  # --no-mount may name
TMP = ("/tmp", "/var/tmp")  # noqa: S108  # Apptainer has them from the machine
ACTIONS = ("pull", "build", "exec")
PREFIXES = ("APPTAINER", "SINGULARITY")
# Of the switches and values, those that may be variables: APPTAINER_BIND, ...
VARIABLES: Mapping[str, str] = {
    "BIND": "bind",
    "BINDPATH": "bind",
    "CLEANENV": "cleanenv",
    "CONTAIN": "contain",
    "CONTAINALL": "containall",
    "COMPAT": "compat",
    "MOUNT": "mount",
    "NO_HOME": "no_home",
    "NV": "nv",
    "WRITABLE_TMPFS": "writable_tmpfs",
}
# Variables that say something of this machine, or of this process.
OURS = frozenset(
    {
        *("PATH", "HOME", "PWD", "OLDPWD", "SHLVL", "_", "HOSTNAME"),
        *("LD_LIBRARY_PATH", "LD_PRELOAD"),
        *(f"ML_EXPERIMENT_{name}" for name in ("RUN", "CONTAINERS", "WARM", "BASH_ENV")),
    }
)
# By these Docker's program itself goes, so that a container cannot have others by their names alone.
CLIENTS = re.compile(r"PATH|HOME|DOCKER_\w+|SSH_AUTH_SOCK|(https?|no|all)_proxy", re.IGNORECASE)
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Asked:
    """What Apptainer was asked to do.

    Attributes:
        action: version, pull (build is the same) or exec.
        options: option -> True, or what it was given each time.
        words: what follows: where an image goes and comes from; the image, program and its words.
    """

    action: str
    options: Mapping[str, Any] = field(default_factory=dict)
    words: tuple[str, ...] = ()

    def given(self, name: str) -> bool:
        """Whether a switch is on."""
        return self.options.get(name) is True

    def last(self, name: str) -> str | None:
        """What an option was given, the last time that it was."""
        values: list[str] = self.options.get(name) or []
        return values[-1] if values else None

    def listed(self, name: str) -> list[str]:
        """What an option with a list, divided by commas, was given."""
        return [item for value in self.options.get(name) or [] for item in value.split(",") if item]


def asked(words: Sequence[str], environ: Mapping[str, str]) -> Asked:
    """What a command line means.

    Args:
        words: behind the program's name.
        environ: where further options may be.

    Raises:
        UserError: it has something for which Docker has no counterpart.
    """
    if "--version" in words[:1] or words[:1] == ["version"]:
        return Asked("version")
    options: dict[str, Any] = {}
    for prefix in reversed(PREFIXES):
        for variable, name in VARIABLES.items():
            value = environ.get(f"{prefix}_{variable}")
            if value and name in SWITCHES.values():
                options[name] = value.lower() not in ("0", "false", "no")
            elif value:
                options[name] = [value]
    before = _options(words, options)
    if not before or before[0] not in ACTIONS:
        value = before[0] if before else ""
        raise UserError("only pull, build and exec are understood", value=value, hint=_INSTALL)
    rest = _options(before[1:], options)
    need = 2 if before[0] == "exec" else 1
    if len(rest) < need:
        raise UserError(f"{before[0]}: an image is missing", value=" ".join(words))
    action = "exec" if before[0] == "exec" else "pull"
    return Asked(action, options, tuple(rest))


_INSTALL = "this is ml-experiment's launcher, which runs Docker in Apptainer's place; with Apptainer itself it can be had"


def _options(words: Sequence[str], found: dict[str, Any]) -> list[str]:
    """Read the options that come first. Returns what is behind them."""
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if name in VALUES:
            if not equals and not rest:
                raise UserError("an option without its value", value=name)
            found.setdefault(VALUES[name], []).append(value if equals else rest.pop(0))
        elif name in SWITCHES:
            found[SWITCHES[name]] = value.lower() not in ("false", "0")
        elif name not in NOTHING:
            raise UserError("Docker has no counterpart of an option", value=name, hint=_INSTALL)
    return rest


# ---- a container ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Caller:
    """For whom and where a container runs.

    Attributes:
        cwd: absolute.
        home: absolute.
        groups: all of them, by number.
        shm: how large /dev/shm is, in KiB.
    """

    cwd: str
    home: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    umask: int
    shm: int


@dataclass(frozen=True)
class Run:
    """What Docker's program is called with, and the variables that it gets for that."""

    words: list[str]
    environ: dict[str, str]


def run(
    told: Asked, image: str, held: Collection[str], caller: Caller, environ: Mapping[str, str]
) -> Run:
    """A container as Apptainer would have it.

    It is the caller's own user; home, working directory, /tmp and /var/tmp are this machine's, and so
    is the network; the image cannot be changed; variables go in.

    Args:
        told: an `exec`.
        image: as Docker knows it.
        held: the variables that the image sets itself, and keeps.
        caller: for whom it is.
        environ: their variables.

    Raises:
        UserError: something in it has no counterpart.
    """
    isolated = told.given("contain") or told.given("containall") or told.given("compat")
    home, inside = _home(told, caller)
    words = ["run", "--rm", "--init", "--interactive", "--log-driver", "none"]
    words += ["--user", f"{caller.uid}:{caller.gid}", "--security-opt", "no-new-privileges"]
    for group in sorted(set(caller.groups) - {caller.gid}):
        words += ["--group-add", str(group)]
    words += ["--network", _network(told), "--shm-size", f"{caller.shm}k"]
    if not (told.given("writable_tmpfs") or told.given("compat")):
        words.append("--read-only")
    words += ["--workdir", told.last("pwd") or caller.cwd]
    for mount in _mounts(told, caller, home, inside, isolated=isolated).values():
        words += ["--mount", mount]
    if isolated and "tmp" not in told.listed("no_mount"):
        for path in TMP:
            words += ["--tmpfs", f"{path}:mode=1777,exec"]
    for name in ("cpus", "memory", "hostname"):
        if (given := told.last(name)) is not None:
            words += [f"--{name}", given]
    words += ["--gpus", "all"] if told.given("nv") else []
    inner = _variables(told, held, environ)
    inner["HOME"] = inside
    inner.update(dict.fromkeys(("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER"), told.words[0]))
    inner["TINI_KILL_PROCESS_GROUP"] = "1"  # a signal is for all that the command has started
    for name in sorted(inner):
        words += ["--env", f"{name}={inner[name]}" if CLIENTS.fullmatch(name) else name]
    by_name = {name: value for name, value in inner.items() if not CLIENTS.fullmatch(name)}
    program = list(told.words[1:])
    if caller.umask != 0o022:  # Docker's own
        program = ["sh", "-c", f'umask {caller.umask:04o} && exec "$@"', "sh", *program]
    words += ["--entrypoint", program[0], image, *program[1:]]
    return Run(words, {**environ, **by_name})


def _home(told: Asked, caller: Caller) -> tuple[str, str]:
    source, _, target = (told.last("home") or caller.home).partition(":")
    return os.path.join(caller.cwd, source), target or source


def _network(told: Asked) -> str:
    wanted = told.last("network")
    if wanted not in (None, "none"):
        raise UserError("Docker has no counterpart of a network", value=wanted, hint=_INSTALL)
    return "none" if wanted or told.given("net") else "host"


def _mounts(
    told: Asked, caller: Caller, home: str, inside: str, *, isolated: bool
) -> dict[str, str]:
    """Target -> what is seen there; of two for one target the later counts."""
    left_out = set(told.listed("no_mount"))
    if unknown := sorted(name for name in left_out - MOUNTS if not name.startswith("/")):
        raise UserError("Docker cannot leave this out", value=f"--no-mount {unknown[0]}")
    found: dict[str, str] = {}
    if not isolated:
        for path in () if "tmp" in left_out else TMP:
            found[path] = _mount(path, path)
    asked_for = told.last("home") is not None
    if (asked_for or not isolated) and not told.given("no_home") and "home" not in left_out:
        found[inside] = _mount(home, inside)
    if not isolated and "cwd" not in left_out:
        found.setdefault(caller.cwd, _mount(caller.cwd, caller.cwd))
    for item in told.listed("bind"):
        source, _, more = item.partition(":")
        target, _, options = more.partition(":")
        if unknown := sorted(set(options.split(":")) - {"", "ro", "rw"}):
            raise UserError("no option of a bind that Docker has", value=item, expected="ro or rw")
        place = (target or source).rstrip("/") or "/"
        found[place] = _mount(
            os.path.join(caller.cwd, source), place, read_only="ro" in options.split(":")
        )
    for item in told.options.get("mount") or []:
        parts = dict(part.partition("=")[::2] for part in item.split(","))
        mounted = next((parts[k] for k in ("destination", "dst", "target") if k in parts), "")
        if parts.get("type") != "bind" or not mounted:
            raise UserError("no mount that Docker has", value=item, expected="type=bind,src=,dst=")
        found[mounted.rstrip("/") or "/"] = ",".join(
            "readonly" if part == "ro" else part for part in item.split(",")
        )
    return found


def _mount(source: str, target: str, *, read_only: bool = False) -> str:
    fields = ["type=bind", f"source={source}", f"target={target}"]
    fields += ["readonly"] if read_only else []
    return ",".join('"' + f.replace('"', '""') + '"' if set(f) & set(',"\n') else f for f in fields)


def _variables(told: Asked, held: Collection[str], environ: Mapping[str, str]) -> dict[str, str]:
    """What a program in there finds: this process's variables, but for those that the image has."""
    clean = any(told.given(name) for name in ("cleanenv", "containall", "compat"))
    found = {} if clean else dict(_plain(held, environ))
    for prefix in reversed(PREFIXES):
        start = f"{prefix}ENV_"
        found.update({n.removeprefix(start): v for n, v in environ.items() if n.startswith(start)})
    for pair in told.listed("env"):
        name, equals, value = pair.partition("=")
        if not equals or not NAME.fullmatch(name):
            raise UserError("no variable", value=f"--env {pair}", expected="--env NAME=VALUE")
        found[name] = value
    return found


def _plain(held: Collection[str], environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in environ.items():
        special = name in OURS or name in held
        if NAME.fullmatch(name) and not special and not name.startswith(PREFIXES):
            yield name, value


# ---- an image ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """Where an image is to come from.

    Attributes:
        kind: registry, engine (Docker has it) or file.
        name: as Docker knows it; a path.
    """

    kind: str
    name: str


def source(url: str) -> Source:
    """What an image's address means to Docker.

    Raises:
        UserError: it is Apptainer's own.
    """
    scheme, _, rest = url.partition(":")
    name = rest.removeprefix("//")
    if not name:
        expected = "docker://NAME:TAG"
        raise UserError("no address of an image", value=url, expected=expected)
    if scheme == "docker":
        return Source("registry", name)
    if scheme == "docker-daemon":
        return Source("engine", name)
    if scheme in ("docker-archive", "oci-archive"):
        return Source("file", name)
    raise UserError(
        "an image in Apptainer's own form, which Docker does not run",
        value=url,
        expected="docker://, docker-daemon:, docker-archive: or oci-archive:",
        hint="name the image of a registry that it was made from, or install Apptainer",
    )
