"""The state of the git repository that a workspace is in, asked from git itself."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

SECONDS = 10.0  # for each question
MOST_DIFF = 10_000_000  # bytes
MOST_UNTRACKED = 1_000


@dataclass(frozen=True)
class Repository:
    """What was checked out.

    Attributes:
        commit: 40 hexadecimal digits; None before the first commit.
        dirty: whether tracked files differ from the commit.
        diff: how, as text; None where they do not, or it is too long.
        untracked: files and folders that git neither knows nor ignores.
        remote: the address of `origin`, without a password.
        problem: what git said instead of an answer.
    """

    commit: str | None = None
    dirty: bool = False
    diff: str | None = None
    untracked: tuple[str, ...] = ()
    remote: str | None = None
    problem: str | None = None


def state(folder: Path) -> Repository | None:
    """The state of a folder's repository; None where there is none, or no git."""
    try:
        status = _git(folder, "status", "--porcelain=v2", "--branch", "-z")
    except (OSError, subprocess.TimeoutExpired) as error:
        missing = isinstance(error, FileNotFoundError)
        return None if missing else Repository(problem="git does not answer")
    if status.returncode != 0:
        said = (status.stderr.splitlines() or [""])[0]
        return None if "not a git repository" in said else Repository(problem=said)
    entries = [entry for entry in status.stdout.split("\0") if entry]
    commit = next((e.split()[-1] for e in entries if e.startswith("# branch.oid ")), None)
    commit = commit if commit and re.fullmatch(r"[0-9a-f]{40,64}", commit) else None
    dirty = any(entry[:2] in ("1 ", "2 ", "u ") for entry in entries)
    untracked = sorted(entry[2:] for entry in entries if entry.startswith("? "))
    diff, problem = _diff(folder) if dirty and commit else (None, None)
    return Repository(
        commit, dirty, diff, tuple(untracked[:MOST_UNTRACKED]), _remote(folder), problem
    )


def _diff(folder: Path) -> tuple[str | None, str | None]:
    """The diff of tracked files, or why there is none."""
    try:
        done = _git(folder, "diff", "HEAD", "--no-color", "--no-ext-diff", "--no-textconv")
    except (OSError, subprocess.TimeoutExpired):
        return None, "git diff does not answer"
    if len(done.stdout) > MOST_DIFF:
        return None, f"the diff has over {MOST_DIFF:,} bytes"
    return done.stdout, None


def _remote(folder: Path) -> str | None:
    try:
        found = _git(folder, "config", "--get", "remote.origin.url").stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return None
    return re.sub(r"://[^/@]*@", "://", found) or None


def _git(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", "-c", "core.fsmonitor=false", *words],
        cwd=folder,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SECONDS,
        check=False,
    )
