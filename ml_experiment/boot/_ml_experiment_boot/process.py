"""Which process this is among those of a job, how it ends, and where its report is written.

A process is the job's main one, or a child: started by another booted process, whether by exec,
by fork, by `multiprocessing` or by joblib. `os._exit` and signals end a process without a
report, and no signal handler is installed, for the program may want its own.
"""

from __future__ import annotations

import _thread
import atexit
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .generators import Generators
    from .hooks import Watch

_STARTERS = ("multiprocessing", "joblib", "loky")
_HELPERS = ("resource_tracker", "forkserver", "semaphore_tracker")


class Process:
    """This process, over its forks.

    Args:
        main: process id of the job's first booted process, None if it is this one.
        write: writes this process's line of the report.
    """

    def __init__(self, main: int | None, write: Callable[[], None]) -> None:
        self.pid = os.getpid()
        self.began = time.time()
        self.main = main or self.pid
        self.place = ""
        self.forks = 0
        self.write = write
        self.written = False
        self.retired = False  # another has taken over, in the child of a warm server
        self.pooled = False  # multiprocessing or joblib runs it
        self.thread = _thread.get_ident()
        self.left_with: Any = None
        self.left = False

    @property
    def role(self) -> str:
        """`main` or `child`."""
        return "main" if self.pid == self.main else "child"

    @property
    def name(self) -> str | None:
        """What multiprocessing calls it, None in a process that it did not start."""
        module = sys.modules.get("multiprocessing.process")
        if module is None or module.parent_process() is None:
            return None
        return str(module.current_process().name)

    def watch(self, watch: Watch, generators: Generators) -> None:
        """Follow forks, exits and multiprocessing from now on."""
        atexit.register(self.finish)
        os.register_at_fork(
            before=self._count_fork, after_in_child=lambda: self._forked(generators)
        )
        self._watch_exit()
        watch.when_imported("multiprocessing.util", lambda module: self._join(module, generators))

    def finish(self) -> None:
        """Write this process's line, once."""
        if self.written or self.retired or self.pid != os.getpid() or self._is_helper():
            return
        self.written = True
        self.write()

    def _count_fork(self) -> None:
        self.forks += 1

    def _forked(self, generators: Generators) -> None:
        if self.retired:
            return
        self.pid = os.getpid()
        self.began = time.time()
        self.place = (self.place + "." if self.place else "") + "f%d" % self.forks
        self.forks = 0
        self.written = self.pooled = self.left = False
        self.thread = _thread.get_ident()
        generators.forked(self.place)

    def _join(self, util: Any, generators: Generators) -> None:
        # Called in each process that multiprocessing or joblib starts, by whatever method, once
        # it knows its name and before it runs anything; such a process skips `atexit`.
        def begin(_process: Process | None = None) -> None:
            if self.retired:
                return
            process = sys.modules["multiprocessing.process"].current_process()
            self.pooled = True
            self.place = ".".join(map(str, getattr(process, "_identity", ()))) or self.place
            generators.moved(self.place)
            util.Finalize(None, self.finish, exitpriority=-1000)

        util.register_after_fork(self, begin)
        # Newer versions do not call what is registered in a process that was not forked.
        context = sys.modules.get("multiprocessing.context")
        spawned = getattr(context, "SpawnProcess", None)
        if spawned is not None and "_after_fork" in spawned.__dict__:
            spawned._after_fork = staticmethod(begin)

    def _is_helper(self) -> bool:
        # The trackers and servers of multiprocessing run nothing of the user's, and end late.
        function = getattr(sys.modules.get("__main__"), "main", None)
        names = str(getattr(function, "__module__", "")).split(".")
        return not self.pooled and names[0] in _STARTERS and names[-1] in _HELPERS

    def _watch_exit(self) -> None:
        original = sys.exit
        process = self

        def exit(status: Any = None, /) -> Any:  # noqa: A001  (it takes that name's place)
            if _thread.get_ident() == process.thread:
                process.left, process.left_with = True, _code(status)
            return original(status)

        exit.__doc__ = original.__doc__
        sys.exit = exit

    def ending(self) -> dict[str, Any]:
        """How the program ends, as far as Python tells.

        `code` is None where it cannot be known: `raise SystemExit(3)` leaves no trace that is
        different from the end of a program given with `-c` or `-m`.
        """
        failed = sys.exc_info()[0] if self.pooled else getattr(sys, "last_type", None)
        if failed is not None and not issubclass(failed, SystemExit):
            code = None if issubclass(failed, KeyboardInterrupt) else 1  # that one is a signal
            return {"code": code, "exception": failed.__name__}
        if self.pooled:
            error = sys.exc_info()[1]
            code = _code(error.code) if isinstance(error, SystemExit) else 0
            return {"code": code, "exception": "SystemExit" if failed else None}
        # Python takes `__file__` from a script's module when the script has come to its end.
        main = sys.modules.get("__main__")
        by_path = getattr(getattr(main, "__loader__", None), "path", None)
        script = by_path is not None and getattr(main, "__spec__", None) is None
        if script and not hasattr(main, "__file__"):
            return {"code": 0, "exception": None}
        code = self.left_with if self.left else None
        return {"code": code, "exception": "SystemExit" if script or self.left else None}


def _code(status: Any) -> int:
    """The exit status of the process for what was given to `sys.exit`."""
    if status is None:
        return 0
    return int(status) & 0xFF if isinstance(status, int) else 1
