"""Slurm on this machine for tests: one node, no accounting, no systemd.

`python -m tests.slurm` starts the daemons, and ends them when nobody uses them any more. Slurm's own
programs look for /etc/slurm/slurm.conf, and Snakemake's plugin hands no other place on to jobs, so it
is written there; a cluster that is there already is left alone.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

from tests import shared

STATE = Path("/run/ml-experiment-slurm")
CONFIG = Path("/etc/slurm")
MARK = "# Written by the tests of ml-experiment, and removed by them."
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "sinfo")
CPUS = 4  # jobs that run at once; a test machine's own two would make every study take longer
GPUS = 2  # files that nobody opens
WAIT = 30  # seconds until daemons that do not answer are an error


def missing() -> str | None:
    """Why there can be no Slurm here; None where there can."""
    path = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
    lacking = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if lacking:
        return f"not on this machine: {', '.join(lacking)}"
    if os.getuid() != 0:
        return "only root can start Slurm"
    config = CONFIG / "slurm.conf"
    if config.exists() and MARK not in config.read_text("utf-8"):
        return f"{config} is of another cluster"
    return None


def running() -> AbstractContextManager[None]:
    """Slurm, for as long as this lasts; processes share it."""
    return shared.running("tests.slurm", STATE, wait=WAIT, mode=0o755)


def configuration() -> dict[Path, str]:
    """The files that the daemons read."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    settings = {
        "ClusterName": "test",
        "SlurmctldHost": "localhost",
        "SlurmUser": "root",
        "AuthInfo": f"socket={STATE}/munge.socket",
        "StateSaveLocation": STATE / "controller",
        "SlurmdSpoolDir": STATE / "node",
        "SlurmctldPidFile": STATE / "slurmctld.pid",
        "SlurmdPidFile": STATE / "slurmd.pid",
        # neither cgroups nor systemd, which a container may not have
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core",
        "SlurmdParameters": "config_overrides",  # more CPUs than there are
        "MpiDefault": "none",
        "ReturnToService": 2,
        "KillWait": 2,
        "GresTypes": "gpu",
    }
    node = f"NodeName=localhost CPUs={CPUS} RealMemory={memory} Gres=gpu:{GPUS} State=UNKNOWN"
    lines = [MARK, *(f"{name}={value}" for name, value in settings.items()), node]
    lines.append("PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP")
    return {
        CONFIG / "slurm.conf": "\n".join(lines) + "\n",
        CONFIG / "gres.conf": f"{MARK}\nName=gpu File={STATE}/gpu[0-{GPUS - 1}]\n",
    }


def _start() -> list[subprocess.Popen[bytes]]:
    """The daemons, as children of this process."""
    for folder in (STATE / "controller", STATE / "node", CONFIG):
        folder.mkdir(exist_ok=True)
    for file, text in configuration().items():
        file.write_text(text, "utf-8")
    for number in range(GPUS):
        (STATE / f"gpu{number}").touch()
    key = STATE / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    munge = ["munged", "--foreground", f"--key-file={key}", f"--socket={STATE}/munge.socket"]
    munge += [f"--pid-file={STATE}/munge.pid", f"--seed-file={STATE}/munge.seed", "--syslog"]
    words = [munge, ["slurmctld", "-D", "-c"], ["slurmd", "-D", "-c", "-N", "localhost"]]
    environ = {**os.environ, "PATH": f"{os.environ['PATH']}{os.pathsep}/usr/sbin"}
    found = []
    for command in words:
        found.append(subprocess.Popen(command, env=environ))
        if command is munge:
            while not (STATE / "munge.socket").exists() and found[0].poll() is None:
                time.sleep(0.05)
    return found


def _idle() -> bool:
    done = subprocess.run(
        ["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() == "idle"


def main() -> None:
    """The daemons, until nobody holds the lock."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    daemons: list[subprocess.Popen[bytes]] = []
    with (STATE / "users.lock").open("ab") as users:
        try:
            daemons = _start()
            while not shared.unused(users):
                if not (STATE / "ready").exists() and _idle():
                    (STATE / "ready").touch()
                time.sleep(0.2)
        finally:
            (STATE / "ready").unlink(missing_ok=True)
            subprocess.run(["scancel", "--user=root"], check=False, capture_output=True)
            time.sleep(0.5)
            for daemon in reversed(daemons):
                daemon.terminate()
            for daemon in reversed(daemons):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    daemon.wait(10)
                daemon.kill()
            for file in configuration():
                file.unlink(missing_ok=True)
            for folder in ("controller", "node"):
                shutil.rmtree(STATE / folder, ignore_errors=True)


if __name__ == "__main__":
    main()
