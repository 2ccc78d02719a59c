"""A Docker engine on this machine for tests, with a base image; no registry is asked.

`python -m tests.docker_engine` starts `dockerd` on a socket and with a folder of its own, so that an
engine which is there already is left alone, and ends it when nobody uses it any more. The base image
is Debian with Python, made by mmdebstrap from this machine's own package sources, once for each time
that the engine is started.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests import shared

STATE = Path("/var/tmp/ml-experiment-docker")  # on a disk, and root's alone
SOCKET = "unix:///var/tmp/ml-experiment-docker/docker.sock"
PROGRAMS = ("dockerd", "containerd", "runc", "docker", "mmdebstrap")
PACKAGES = "python3"
BASE = "ml-experiment-test/base:1"
SOURCES = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
WAIT = 600  # seconds until an engine that is not ready is an error; the image takes 20 of them


def missing() -> str | None:
    """Why there can be no engine here; None where there can."""
    lacking = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if lacking:
        return f"not on this machine: {', '.join(lacking)}"
    if os.getuid() != 0:
        return "only root can start dockerd"
    if not any(file.exists() for file in SOURCES):
        return "no Debian, whose packages the base image is made of"
    return None


@contextlib.contextmanager
def running() -> Iterator[Mapping[str, str]]:
    """An engine with the base image, for as long as this lasts; processes share it.

    Yields:
        The variables with which Docker's programs and libraries find it.
    """
    with shared.running("tests.docker_engine", STATE, wait=WAIT, mode=0o711):
        yield {"DOCKER_HOST": SOCKET}


def _path() -> str:
    return f"{os.environ['PATH']}{os.pathsep}/usr/sbin"


def _start() -> subprocess.Popen[bytes]:
    """The engine. It has no bridge and changes no firewall, which another one may have to itself."""
    words = [
        "dockerd",
        f"--host={SOCKET}",
        f"--data-root={STATE}/data",
        f"--exec-root={STATE}/exec",
    ]
    words += [f"--pidfile={STATE}/docker.pid", "--bridge=none", "--iptables=false"]
    environ = {**os.environ, "PATH": _path()}
    engine = subprocess.Popen(words, env=environ)
    while subprocess.run(
        ["docker", f"--host={SOCKET}", "info"], capture_output=True, check=False
    ).returncode:
        if engine.poll() is not None:
            raise SystemExit("dockerd has ended")
        time.sleep(0.1)
    return engine


def _make_base() -> None:
    release = Path("/etc/os-release").read_text("utf-8").splitlines()
    suite = next(line for line in release if line.startswith("VERSION_CODENAME=")).partition("=")[2]
    source = next(file for file in SOURCES if file.exists())
    words = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}"]
    with subprocess.Popen([*words, suite, "-", str(source)], stdout=subprocess.PIPE) as made:
        load = ["docker", f"--host={SOCKET}", "import", "-", BASE]
        subprocess.run(load, stdin=made.stdout, check=True)
    if made.returncode:
        raise SystemExit("mmdebstrap has failed")


def _unmount() -> None:
    lines = Path("/proc/self/mounts").read_text("utf-8").splitlines()
    for place in [line.split()[1] for line in reversed(lines)]:
        if place.startswith(f"{STATE}/"):
            subprocess.run(["umount", place], check=False)


def main() -> None:
    """The engine, until nobody holds the lock."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    engine: subprocess.Popen[bytes] | None = None
    with (STATE / "users.lock").open("ab") as users:
        try:
            engine = _start()
            _make_base()
            (STATE / "ready").touch()
            while not shared.unused(users):
                time.sleep(0.2)
        finally:
            if not (STATE / "ready").exists():
                (STATE / "failed").touch()
            (STATE / "ready").unlink(missing_ok=True)
            if engine is not None:
                engine.terminate()  # it ends its containers
                with contextlib.suppress(subprocess.TimeoutExpired):
                    engine.wait(30)
                engine.kill()
            _unmount()  # the engine leaves the namespace of its network
            for folder in ("data", "exec"):
                shutil.rmtree(STATE / folder, ignore_errors=True)


if __name__ == "__main__":
    main()
