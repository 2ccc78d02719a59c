"""What runs in a kept container: `python -I -S kept.py FOLDER`, started by kept.sh.

It starts the shell of one job after the other, as the container's own start would have: the image's
variables and the job's, a session of its own, output to the job's log. A job has the container for
itself. When it has ended, every process but the warm servers (warm.py) is killed and what it has left
in the folders for temporary files is removed, and only then is the container offered to the next one.

It ends, and with it everything in the container, when nobody holds `FOLDER/alive` open for writing any
more, when the shell outside that waits for a job has gone, after a job that was killed or could not
be started, and after five minutes without work.

Standard library only, Python 3.8 and later, Linux.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import time

IDLE = 300.0  # seconds
SCRATCH = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  (what jobs leave there is removed)
BROKEN = 125  # statuses from here on are of a job that was killed or never began
EASIER = "500"  # what memory's end comes to first: a job, not this process
START = 'umask "$3" && . "$0" "$1" "$2" && shift 3 && exec "$@"'  # as in docker.sh


class Job:
    """A job that waits to be run.

    Attributes:
        reply: where its shell outside listens.
        words: what is run, for bash.
        environ, directory, streams: with what, where, and the files of its output and errors.
    """

    def __init__(self, folder: str, number: str) -> None:
        place = os.path.join(folder, number)
        self.reply = os.open(place + ".reply", os.O_WRONLY | os.O_NONBLOCK)
        with open(place + ".job", "rb") as stream:
            words = [os.fsdecode(word) for word in stream.read().split(b"\0")[:-1]]
        os.unlink(place + ".job")
        os.unlink(place + ".reply")  # the shell has it open
        self.directory = words[0]
        self.streams = words[1:3]
        count = 4 + int(words[3])
        self.words = ["bash", "-c", START, *words[4:count]]
        pairs = (word.partition("=") for word in words[count:])
        self.environ = {
            **os.environ,
            **{name: value for name, _, value in pairs},
            "ML_EXPERIMENT_WARM": folder,
        }

    def answer(self, text: str) -> None:
        """One line to the shell, which may be gone."""
        try:
            os.write(self.reply, (text + "\n").encode())
        except OSError:
            pass

    def start(self) -> int:
        """Fork, and be the job in the child. Returns the child's number."""
        pid = os.fork()
        if pid == 0:
            try:
                self._become()
            except OSError as error:
                os.write(2, ("ml-experiment: the job could not be started: %s\n" % error).encode())
            finally:
                os._exit(127)
        return pid

    def _become(self) -> None:
        os.setsid()
        for number, path in enumerate(self.streams, 1):
            opened = os.open(path, os.O_WRONLY | os.O_APPEND)
            os.dup2(opened, number)
        signal.set_wakeup_fd(-1)
        for each in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(each, signal.SIG_DFL)
        try:
            with open("/proc/self/oom_score_adj", "w", encoding="ascii") as stream:
                stream.write(EASIER)
        except OSError:
            pass
        os.chdir(self.directory)
        os.execvpe(self.words[0], self.words, self.environ)  # noqa: S606


class Kept:
    """The container, between its jobs and during one.

    Args:
        folder: shared with the shells outside.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.scratch = {place: _entries(place) for place in SCRATCH}
        self.wake, woken = os.pipe()
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.alive = os.open(os.path.join(folder, "alive"), os.O_RDONLY | os.O_NONBLOCK)
        path = os.path.join(folder, "requests")
        os.mkfifo(path + ".new", 0o600)
        # Opened for both: it is never at its end, though no shell has it open.
        self.requests = os.open(path + ".new", os.O_RDWR)
        os.replace(path + ".new", path)

    def serve(self) -> None:
        """Jobs, until there is an end of it."""
        number = self._asked()
        while number is not None:
            try:
                job = Job(self.folder, number)
            except OSError:
                return  # its shell has been killed
            job.answer("taken")
            status = self._run(job)
            if status is None:
                return
            if status < BROKEN:
                self._sweep()
                self._clean()
                os.close(
                    os.open(os.path.join(self.folder, "idle"), os.O_CREAT | os.O_WRONLY, 0o600)
                )
            job.answer(str(status))  # last: whoever comes next finds it idle
            os.close(job.reply)
            if status >= BROKEN:
                return
            number = self._asked()

    def _asked(self) -> str | None:
        """The number of the next job; None when there is to be none."""
        poll = select.poll()
        poll.register(self.requests, select.POLLIN)
        poll.register(self.alive, 0)  # its end only
        events = dict(poll.poll(IDLE * 1000))
        while not events and not self._withdraw():  # somebody has just taken it
            events = dict(poll.poll(IDLE * 1000))
        if not events or self.alive in events:
            return None
        text = b""
        while not text.endswith(b"\n"):
            text += os.read(self.requests, 1)
        return text.decode("ascii").strip()

    def _withdraw(self) -> bool:
        """Be idle no more, if nobody has come."""
        try:
            os.unlink(os.path.join(self.folder, "idle"))
        except OSError:
            return False
        return True

    def _run(self, job: Job) -> int | None:
        """Run a job to its end: its exit status; None where nobody waits for that any more."""
        pid = job.start()
        poll = select.poll()
        poll.register(self.wake, select.POLLIN)
        poll.register(job.reply, 0)  # POLLERR: nobody listens
        poll.register(self.alive, 0)
        while True:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                signalled = os.WIFSIGNALED(status)
                return 128 + os.WTERMSIG(status) if signalled else os.WEXITSTATUS(status)
            events = dict(poll.poll())
            if job.reply in events or self.alive in events:
                return None
            os.read(self.wake, 4096)

    def _sweep(self) -> None:
        """Kill what a job has left: every process but the first, this one and warm servers."""
        stay = {1, os.getpid(), *self._servers()}
        while True:
            left = [
                pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if pid not in stay
            ]
            if sum(map(_killed, left)) == 0:
                return
            time.sleep(0.001)

    def _servers(self) -> list[int]:
        found = []
        for entry in os.listdir(self.folder):
            try:
                with open(os.path.join(self.folder, entry, "pid"), encoding="ascii") as stream:
                    found.append(int(stream.read()))
            except (OSError, ValueError):  # noqa: PERF203  (it is something else)
                continue
        return found

    def _clean(self) -> None:
        """Remove what was not in the folders for temporary files when the container started."""
        for place, before in self.scratch.items():
            for name in _entries(place) - before:
                path = os.path.join(place, name)
                if os.path.isdir(path) and not os.path.islink(path):
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    try:
                        os.unlink(path)
                    except OSError:
                        pass


def _killed(pid: int) -> bool:
    """Whether there was a process to kill; one that has ended and waits to be taken note of is none."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as stream:
            if stream.read().rpartition(b")")[2].split()[0] == b"Z":
                return False
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return False
    return True


def _entries(place: str) -> set[str]:
    try:
        return set(os.listdir(place))
    except OSError:
        return set()


if __name__ == "__main__":
    Kept(*sys.argv[1:]).serve()
