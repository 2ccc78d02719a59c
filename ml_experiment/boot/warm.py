"""A server of warm processes: `python warm.py FOLDER LIST`, started by warm.sh.

It imports the modules that LIST names, of installed distributions and of Python, and forks for each
program it is asked to run: a fresh process with the environment, arguments, folder and standard streams
that the program would have had, in a process group of its own. It ends when nobody holds
`FOLDER/../alive` open for writing any more, kills what it has forked then, and after five minutes
without work. What it will not do it says in FOLDER/cold, and ends: programs then start as usual.

A fork inherits memory, but no threads and no GPU: a server that has touched CUDA forks nothing, nor
one with other threads than those of OpenBLAS and jemalloc (pyarrow's), which have handlers for forks.

Standard library only, Python 3.8 and later, Linux.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import select
import signal
import stat
import sys

import _ml_experiment_boot.report  # noqa: F401  (every program needs it in the end)
from _ml_experiment_boot import Boot, imports, machine, program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

IDLE = 300.0  # seconds
_UNREAD = frozenset(
    [
        *("_", "BASH_ENV", "OLDPWD", "PWD", "SHLVL"),
        *("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
        *("GOTO_NUM_THREADS", "TEMP", "TEMPDIR", "TMP", "TMPDIR"),
    ]
)


class RefusedError(Exception):
    """Programs must start cold; the message is a clause that says why."""


class Request:
    """A program that waits to be run.

    Attributes:
        pid: of the shell that asks.
        reply: where it listens.
        program, environ, directory: what is to be run.
        descriptors: what the shell has open for talking to us.
    """

    def __init__(self, folder: str, pid: int) -> None:
        self.pid = pid
        reply = os.path.join(folder, str(pid))
        self.reply = os.open(reply, os.O_WRONLY | os.O_NONBLOCK)
        with open(reply + ".job", "rb") as stream:
            words = [os.fsdecode(word) for word in stream.read().split(b"\0")[:-1]]
        os.unlink(reply + ".job")
        os.unlink(reply)  # the shell has it open
        count = int(words[0])
        self.directory = words[1]
        self.descriptors = set(map(int, words[2:4]))
        self.program = words[4 : 4 + count]
        pairs = (word.partition("=") for word in words[4 + count :])
        self.environ = {name: value for name, _, value in pairs if _is_of_program(name, value)}
        self.environ["_"] = self.program[0]

    def answer(self, text: str) -> None:
        """One line to the shell, which may be gone."""
        try:
            os.write(self.reply, (text + "\n").encode())
        except OSError:
            pass

    def check(self, drawn: dict[str, Any], before: dict[str, str]) -> None:
        """Raise RefusedError where the program would not see what it should.

        Args:
            drawn: see `_import`.
            before: the server's environment when it began to import.
        """
        other = {name for name, value in self.environ.items() if before.get(name) != value}
        other = {name for name in other | (set(before) - set(self.environ)) if _is_read(name)}
        if other:
            names = ", ".join(sorted(other))
            raise RefusedError("its environment is not that of its imports: %s" % names)
        if _content("/proc/%d/limits" % self.pid) != _content("/proc/self/limits"):
            raise RefusedError("it has other limits (ulimit) than the server")
        for number in range(3):
            self._check_stream(number)
        if drawn and _seed(self.environ) != _seed(os.environ):
            raise RefusedError("an import draws random numbers, and this program has another seed")
        if os.path.realpath(self.directory) != os.getcwd():
            raise RefusedError("it runs in another folder than the server, %s" % self.directory)
        for entry in os.listdir("/proc/%d/fd" % self.pid):
            number = int(entry)
            if number < 3 or number in self.descriptors or _closes(self.pid, number):
                continue
            if _target(self.pid, number) != _target(os.getpid(), number):  # else both inherit it
                raise RefusedError("it has file descriptor %d open" % number)

    def _check_stream(self, number: int) -> None:
        """Raise RefusedError where opening a standard stream again would not give the same."""
        target = _target(self.pid, number)
        if not target:
            raise RefusedError("its stream %d is closed" % number)
        if target.startswith("socket:"):
            raise RefusedError("a socket, which cannot be opened again, is its stream %d" % number)
        is_file = stat.S_ISREG(os.stat("/proc/%d/fd/%d" % (self.pid, number)).st_mode)
        appended = number > 0 and _flags(self.pid, number) & os.O_APPEND
        if is_file and not appended:
            # Opened again it has a place of its own: others would write over it, or read it twice.
            raise RefusedError("a file that it shares with others is its stream %d" % number)


def main(folder: str, listed: str) -> None:
    """Import, then serve until the run ends."""
    atexit.register(program.end)  # before any import, so that it is the last to be called
    before = dict(os.environ)
    try:
        drawn = _import(listed)
        _check_fork()
    except RefusedError as refused:
        _decline(folder, str(refused))
        return
    imports.imported(os.getcwd())  # which it keeps: a program looks at what it imports besides
    gc.collect()
    gc.freeze()  # what is here already is never garbage of a program
    set_by_imports = {k: v for k, v in os.environ.items() if before.get(k) != v and _is_read(k)}
    request = _serve(folder, drawn, before)
    if request is not None:
        os.close(request.reply)
        environ = {**request.environ, **set_by_imports}
        program.run(request.program, environ, request.pid, drawn)


def _import(listed: str) -> dict[str, Any]:
    """Import what the list names, as the program that this server was started for would.

    Returns:
        The states of the random generators that an import has drawn from, by module; under ""
        how many generators of NumPy were made.
    """
    with open(listed, encoding="utf-8") as stream:
        known = json.load(stream)
    if known.get("python") != [sys.executable, sys.version]:
        os.unlink(listed)  # to be learned anew
        raise RefusedError("what it imports was seen under another Python")
    boot = Boot.current
    if boot is None:
        raise RefusedError("it is not seeded")
    boot.process.retired = True  # no report: this is no program
    for name in known["modules"]:
        try:
            importlib.import_module(name)
        except BaseException as error:  # noqa: BLE001, PERF203  (whatever it is, a program should meet it)
            raise RefusedError("importing %s failed: %r" % (name, error)) from None
    drawn: dict[str, Any] = {}
    if boot.generators.children.created:
        drawn[""] = boot.generators.children.created
    for generator in boot.generators.seen.values():
        if not generator.untouched():
            module = sys.modules[generator.module]
            get = {"random": "getstate", "numpy": "get_state"}.get(generator.name)
            if get is None:
                raise RefusedError("an import draws random numbers from %s" % generator.name)
            drawn[generator.module] = getattr(module, get)()
    return drawn


def _check_fork() -> None:
    """Raise RefusedError where a fork would not be safe."""
    threading = sys.modules.get("threading")
    if threading is not None and threading.active_count() > 1:
        names = sorted(thread.name for thread in threading.enumerate()[1:])
        raise RefusedError("an import starts threads (%s)" % ", ".join(names))

    allowed = 1 + sum((row["threads"] or 1) - 1 for row in machine.blas() if _survives(row))
    running = [name for name in _threads() if name != "jemalloc_bg_thd"]
    if len(running) > allowed:
        raise RefusedError("an import starts native threads (%s)" % ", ".join(sorted(running)))
    for entry in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink("/proc/self/fd/" + entry)
        except OSError:
            continue
        if target.startswith(("/dev/nvidia", "/dev/kfd", "/dev/dri")):
            raise RefusedError("an import opens a GPU")


def _survives(row: dict[str, Any]) -> bool:
    """Whether a library ends its threads before a fork and starts them again when it needs them.

    OpenBLAS does, with threads of its own; built for OpenMP it has those of libgomp, which a fork
    leaves waiting for ever.
    """
    config = row["config"]
    return "openblas" in row["library"] and config is not None and "USE_OPENMP" not in config


def _threads() -> list[str]:
    """The names of this process's threads, as the kernel has them."""
    names = []
    for number in os.listdir("/proc/self/task"):
        with open("/proc/self/task/%s/comm" % number, encoding="utf-8") as stream:
            names.append(stream.read().strip())
    return names


def _serve(folder: str, drawn: dict[str, Any], before: dict[str, str]) -> Request | None:
    """Fork for each request: in the child its request, None at the server's end."""
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    path = os.path.join(folder, "requests")
    os.mkfifo(path + ".new", 0o600)
    # Opened for both: it is never at its end, though no shell has it open.
    requests = os.open(path + ".new", os.O_RDWR)
    os.replace(path + ".new", path)
    alive = os.open(os.path.join(os.path.dirname(folder), "alive"), os.O_RDONLY | os.O_NONBLOCK)
    poll = select.poll()
    poll.register(requests, select.POLLIN)
    poll.register(wake, select.POLLIN)
    poll.register(alive, 0)  # its end only
    running: dict[int, Request] = {}
    text = b""
    while True:
        events = dict(poll.poll(None if running else IDLE * 1000))
        if alive in events or (not events and not _was_asked(folder, requests)):
            _kill(running)
            return None
        if wake in events:
            os.read(wake, 4096)
        for pid in _lost(events, running):
            _kill({pid: running[pid]})
        _reap(poll, running)
        if requests in events:
            *lines, text = (text + os.read(requests, 4096)).split(b"\n")
            for line in lines:
                request = _begun(folder, int(line), running, poll, drawn, before)
                if request is not None:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    for descriptor in (wake, woken, requests, alive):
                        os.close(descriptor)
                    for other in running.values():
                        os.close(other.reply)
                    return request


def _begun(
    folder: str,
    number: int,
    running: dict[int, Request],
    poll: select.poll,
    drawn: dict[str, Any],
    before: dict[str, str],
) -> Request | None:
    """Fork for one request: it is returned in the child alone."""
    try:
        request = Request(folder, number)
    except (OSError, ValueError, IndexError):
        return None  # the shell has been killed meanwhile
    try:
        request.check(drawn, before)
    except (RefusedError, OSError) as refused:
        _note(folder, str(refused))
        request.answer("cold")
        os.close(request.reply)
        return None
    program.prepare(request.program[1])
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        return request
    try:
        os.setpgid(pid, pid)  # whoever of the two comes first
    except OSError:
        pass
    request.answer(str(pid))
    running[pid] = request
    poll.register(request.reply, 0)  # POLLERR: nobody listens any more
    return None


def _lost(events: dict[int, int], running: dict[int, Request]) -> list[int]:
    """The processes whose shell has been killed."""
    return [pid for pid, request in running.items() if request.reply in events]


def _reap(poll: select.poll, running: dict[int, Request]) -> None:
    """Tell the shells of the processes that have ended how they have."""
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        request = running.pop(pid, None)
        if request is None:
            continue
        signalled = os.WIFSIGNALED(status)
        code = 128 + os.WTERMSIG(status) if signalled else os.WEXITSTATUS(status)
        request.answer(str(code))
        poll.unregister(request.reply)
        os.close(request.reply)


def _was_asked(folder: str, requests: int) -> bool:
    """Go out of service, so that no shell begins to wait; whether one has just before."""
    _decline(folder, "")
    return bool(select.select([requests], [], [], 0.2)[0])


def _kill(running: dict[int, Request]) -> None:
    for pid in running:
        try:
            os.killpg(pid, signal.SIGKILL)
        except OSError:  # noqa: PERF203
            pass


def _decline(folder: str, why: str) -> None:
    _note(folder, why)
    temporary = os.path.join(folder, "cold.tmp")
    with open(temporary, "w", encoding="utf-8") as stream:
        stream.write(why + "\n")
    os.replace(temporary, os.path.join(folder, "cold"))


def _note(folder: str, why: str) -> None:
    """Keep the reason for the executor, which says it with --verbose."""
    if why:
        with open(os.path.join(os.path.dirname(folder), "reasons"), "a", encoding="utf-8") as file:
            file.write(why + "\n")


def _is_of_program(name: str, value: str) -> bool:
    """Whether a variable of the shell is one that the program would have had."""
    ours = ("ML_EXPERIMENT_BASH_ENV", "ML_EXPERIMENT_WARM", "_")
    own = name == "BASH_ENV" and value == os.path.join(os.path.dirname(__file__), "warm.sh")
    return name not in ours and not own and not name.startswith("BASH_FUNC_")


def _is_read(name: str) -> bool:
    """Whether a library may have read a variable when it was imported.

    Ours are read by nobody else. GPUs are looked for when they are first used, and so is a folder
    for temporary files: a server that was started early (launch.warm_up) lacks Snakemake's variables
    for that.
    """
    return not name.startswith(("ML_EXPERIMENT_", "BASH_FUNC_")) and name not in _UNREAD


def _seed(environ: Mapping[str, str]) -> list[Any]:
    settings = json.loads(environ["ML_EXPERIMENT_BOOT"])
    return [settings.get(key) for key in ("root", "stream", "replicate", "seeding")]


def _target(pid: int, number: int) -> str:
    try:
        return os.readlink("/proc/%d/fd/%d" % (pid, number))
    except OSError:
        return ""


def _closes(pid: int, number: int) -> bool:
    """Whether a program that the process starts does not get the descriptor."""
    try:
        return bool(_flags(pid, number) & os.O_CLOEXEC)
    except FileNotFoundError:
        return True  # closed meanwhile: it was the one that listed the folder


def _flags(pid: int, number: int) -> int:
    """How a descriptor has been opened, as the flags of `open`."""
    with open("/proc/%d/fdinfo/%d" % (pid, number), encoding="ascii") as stream:
        return int(next(line for line in stream if line.startswith("flags:")).split()[1], 8)


def _content(path: str) -> str:
    with open(path, encoding="ascii") as stream:
        return stream.read()


if __name__ == "__main__":
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # this folder, which must hide no module; what is needed of it is loaded
    main(*sys.argv[1:])
