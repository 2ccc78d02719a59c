"""A program in a process that a warm server has forked: how it begins, and how it ends."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from importlib.machinery import SourceFileLoader
from types import CodeType, ModuleType

from . import Boot, boot, imports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, NoReturn

_CALL = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "call.py")

_compiled: list[CodeType] = []  # of call.py, as long as this server lives
NOT_BEGUN = 125  # the exit status: a trial of it is no result
_of_server: list[tuple[int, str]] = []  # the mark of the modules that it begins with
_ending: list[int] = []  # once it has ended: its exit status, negative for a signal


def run(words: list[str], environ: dict[str, str], shell: int, drawn: dict[str, Any]) -> NoReturn:
    """Be the program: what Python does with a script, in a process that has its imports.

    Args:
        words: `python`, the script and its arguments.
        environ: the whole environment.
        shell: the process whose standard streams it gets.
        drawn: what imports have done to random generators, see warm.py.
    """
    _of_server.append(imports.mark())
    try:
        _take_over(shell)
    except OSError as error:
        sys.stderr.write("no program of %d, whose streams are gone: %s\n" % (shell, error))
        os._exit(NOT_BEGUN)
    for name in list(os.environ):  # `clear` makes such a list for each name
        del os.environ[name]
    os.environ.update(environ)
    time.tzset()
    script, arguments = words[1], words[2:]
    sys.argv = [script, *arguments]
    setattr(sys, "orig_argv", list(words))  # noqa: B010  (Python 3.10 and later know it)
    if not getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, os.path.dirname(os.path.realpath(script)))
    status = _status_of(script, drawn)
    _ending.append(status)
    raise SystemExit(abs(status))  # not `sys.exit`, which the boot report has an eye on


def _take_over(shell: int) -> None:
    """Have the standard streams of the shell, its umask, and its mind about Ctrl-C.

    Raises:
        OSError: one of the streams cannot be opened again.
    """
    for number, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        path = "/proc/%d/fd/%d" % (shell, number)
        opened = os.open(path, flags | (os.O_APPEND if number else 0))
        os.dup2(opened, number)
        os.close(opened)
    with open("/proc/%d/status" % shell, encoding="utf-8", errors="replace") as stream:
        told = dict(line.split(":", 1) for line in stream if ":" in line)
    if "Umask" in told:  # Linux 4.7
        os.umask(int(told["Umask"], 8))
    # A server is started in the background, where bash has it ignore both; a shell ignores SIGQUIT
    # itself and has its programs not do so.
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    if not int(told["SigIgn"], 16) & 1 << (signal.SIGINT - 1):
        signal.signal(signal.SIGINT, signal.default_int_handler)


def prepare(script: str) -> None:
    """In the server: compile call.py, which all programs of a step with `call:` would compile."""
    if script == _CALL and not _compiled:
        try:
            with open(script, "rb") as stream:
                _compiled.append(compile(stream.read(), script, "exec", dont_inherit=True))
        except (OSError, SyntaxError, ValueError):
            pass  # the program meets it


def _status_of(script: str, drawn: dict[str, Any]) -> int:
    """Run a script as `__main__`, and its exit status, as Python has it."""
    try:
        boot(os.environ)
        _restore(drawn)
        _execute(script)
    except SystemExit as left:
        return _left(left.code)
    except BaseException as error:  # noqa: BLE001  (as Python itself does)
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        _report(error, trace)
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _restore(drawn: dict[str, Any]) -> None:
    """Leave the random generators as the imports would have left them: the seed is the same."""
    for name, state in drawn.items():
        if not name and Boot.current is not None:
            Boot.current.generators.children.created = state
        elif name:
            getattr(sys.modules[name], "setstate" if name == "random" else "set_state")(state)


def _execute(script: str) -> None:
    path = os.path.abspath(script) if sys.version_info >= (3, 9) else script
    module: Any = ModuleType("__main__")
    module.__file__ = path
    module.__loader__ = SourceFileLoader("__main__", path)
    module.__builtins__ = sys.modules["builtins"]
    module.__cached__ = None
    sys.modules["__main__"] = module
    exec(_compiled[0] if script == _CALL and _compiled else _code(script, path), module.__dict__)  # noqa: S102
    del module.__file__, module.__cached__  # as Python does when a script has come to its end


def _code(script: str, path: str) -> CodeType:
    try:
        with open(script, "rb") as stream:
            source = stream.read()
    except OSError as error:
        sys.stderr.write(
            "%s: can't open file %r: [Errno %s] %s\n"
            % (getattr(sys, "orig_argv")[0], path, error.errno, error.strerror)  # noqa: B009
        )
        sys.exit(2)
    return compile(source, path, "exec", dont_inherit=True)


def _report(error: BaseException, trace: TracebackType | None) -> None:
    """What Python does with an exception that nobody has caught."""
    error = error.with_traceback(trace)
    last: Any = sys
    last.last_type, last.last_value, last.last_traceback = type(error), error, trace
    if sys.version_info >= (3, 12):
        last.last_exc = error
    sys.excepthook(type(error), error, trace)


def _left(code: Any) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    sys.stderr.write(str(code) + "\n")
    return 1


def end() -> None:
    """Leave as Python leaves, but without taking apart what was there before the program.

    The program's own modules go, so that files which they have left open are written.
    """
    if not _ending:
        return
    for name in ("last_exc", "last_type", "last_value", "last_traceback"):
        sys.__dict__.pop(name, None)
    below = os.path.join(os.getcwd(), "")
    names = imports.added(_of_server[0])
    for name in [*(reversed(list(sys.modules)) if names is None else names), "__main__"]:
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None) or ""
        own = file.startswith(below) and "-packages" not in file
        if module is not None and (own or name == "__main__"):
            _clear(vars(module))
    gc.collect()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        os._exit(120)
    if _ending[0] < 0:
        signal.signal(-_ending[0], signal.SIG_DFL)
        os.kill(os.getpid(), -_ending[0])
    os._exit(_ending[0])


def _clear(values: dict[str, Any]) -> None:
    """Let a module's values go, one by one and private ones first, as Python does in the end.

    The garbage collector would end a text file and the file below it in any order, and lose text.
    """
    for private in (True, False):
        for name in list(values):
            if name != "__builtins__" and (name.startswith("_") or not private):
                values[name] = None
