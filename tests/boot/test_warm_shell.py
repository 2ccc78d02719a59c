"""A program in a warm process sees and does what it does in one of its own, whatever its shell has set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.boot.jobs import BOOT

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")

CODE = "abc123"
PROGRAM = """\
import os, resource, signal, sys
with open("how.txt", "a") as how:
    print("warm" if os.getpgrp() == os.getpid() else "cold", file=how)
names = ("server", "status", "reply", "BASH_ENV", "MINE", "KMP_INIT_AT_FORK")
print("program", {name: os.environ.get(name) for name in names})
print(signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGQUIT))
mask = os.umask(0)
os.umask(mask)
print(oct(mask), resource.getrlimit(resource.RLIMIT_NOFILE)[0], hash("a"), sys.flags.optimize)
print("none" if sys.stdin is None else sys.stdin.read())
"""
SHELL = """\
. {boot}/env.sh 1 0 {bin} && ML_EXPERIMENT_BOOT={settings} exec bash -euo pipefail -c "$1"
"""
SETTINGS = (
    """'{"replicate":0,"report":"boot.jsonl","root":1,"seeding":"full","stream":"s",'"""
    f"""'"threads":1,"warm":"{CODE}"}}'"""
)


class Runs:
    """Jobs of one step, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.warm = folder / "warm"
        (self.warm / "learned").mkdir(parents=True)
        os.mkfifo(self.warm / "alive")
        self.alive = os.open(self.warm / "alive", os.O_RDWR | os.O_CLOEXEC)
        (folder / "p.py").write_text(PROGRAM)
        (folder / "in.txt").write_text("a\nb\nc\n")

    def run(self, command: str, *, warm: bool = True) -> str:
        """The log of a job, and its exit status."""
        log = self.folder / "log"
        log.write_text("")
        environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        offered = {"ML_EXPERIMENT_WARM": str(self.warm)} if warm else {}
        text = SHELL.format(boot=BOOT, bin=Path(sys.executable).parent, settings=SETTINGS)
        with log.open("ab") as output:
            done = subprocess.run(
                ["bash", "-c", text, "bash", command],
                cwd=self.folder,
                env={**environ, **offered},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=60,
                check=False,
            )
        return f"{log.read_text()}\n{done.returncode}"

    def how(self) -> list[str]:
        """How programs have run since the last call."""
        file = self.folder / "how.txt"
        found = file.read_text().split() if file.exists() else []
        file.unlink(missing_ok=True)
        return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Jobs whose server is there, as its first one has started it."""
    made = Runs(tmp_path_factory.mktemp("runs"))
    for _ in range(2):
        made.run("python p.py")
    assert (made.warm / "learned" / f"{CODE}.json").exists()
    assert made.how() == ["cold", "warm"]
    return made


@pytest.mark.parametrize(
    ("command", "how"),
    [
        ("echo start; python p.py; echo end", "warm"),
        ("export server=http://x status=ok reply=me; python p.py", "cold"),  # not when it imported
        ("export ML_EXPERIMENT_X=1; umask 027; python p.py", "warm"),
        ("export BASH_ENV=/dev/null; python p.py", "warm"),
        ("PYTHONHASHSEED=7 python p.py", "cold"),
        ("PYTHONOPTIMIZE=1 python p.py", "cold"),
        ("MINE=1 python p.py", "cold"),
        ("trap '' INT; python p.py", "warm"),
        ("trap 'echo ended' EXIT; trap 'echo no' TERM; python p.py; trap -p TERM", "warm"),
        ("ulimit -S -n 100; python p.py", "cold"),
        ("unset OMP_NUM_THREADS; python p.py", "warm"),
        ("python p.py <&-", "cold"),
        ("python p.py < in.txt", "cold"),
        ("{ read -r first; python p.py; } < in.txt", "cold"),
        ("cat in.txt | python p.py | cat", "warm"),
        ("{ echo a; python p.py; echo b; } > out.txt; cat out.txt", "cold"),
        ("python p.py >> out.txt; cat out.txt", "warm"),
        ("python p.py 2>&1 | tee out.txt", "warm"),
        ("python missing.py || echo $?", None),
    ],
)
def test_the_same_as_in_a_process_of_its_own(runs: Runs, command: str, how: str | None) -> None:
    (runs.folder / "out.txt").unlink(missing_ok=True)
    cold = runs.run(command, warm=False)
    assert runs.how() == ([] if how is None else ["cold"])
    (runs.folder / "out.txt").unlink(missing_ok=True)
    assert runs.run(command) == cold
    assert runs.how() == ([] if how is None else [how])


@pytest.mark.engine("sklearn")
def test_what_an_import_sets_is_set(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    (tmp_path / "p.py").write_text(f"import sklearn\n{PROGRAM}")
    cold = runs.run("python p.py", warm=False)
    assert "'KMP_INIT_AT_FORK': 'FALSE'" in cold
    assert [runs.run("python p.py") for _ in range(2)] == [cold, cold]
    assert runs.how() == ["cold", "cold", "warm"]


def test_a_server_that_never_came_to_be_keeps_nobody_waiting(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    runs.run("python p.py")
    place = str(Path(sys.executable).parent / "python").replace("/", "+")
    (runs.warm / f"{CODE}-1{place}").mkdir()
    assert runs.run("python p.py").endswith("\n0")
    assert runs.how() == ["cold", "cold"]
