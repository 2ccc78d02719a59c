"""Seeding and the boot report, inside a job: standard library only, Python 3.8 and later.

`sitecustomize` calls `boot` when Python starts. A server that forks processes which have their
libraries imported already calls `start` in the child instead, and `finish` before `os._exit`.
"""

from __future__ import annotations

import gc
import os
import sys

from .generators import Generators
from .hooks import Standalone, Watch
from .process import Process
from .settings import VARIABLE, SettingsError, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from .settings import Settings


class Boot:
    """What one process was told, and what it has seen since."""

    current: Boot | None = None  # the one of this process

    def __init__(self, settings: Settings, directory: str) -> None:
        self.settings = settings
        self.directory = directory
        self.problems: list[str] = []
        self.watch = Watch()
        self.generators = Generators(settings, self.complain)
        self.process = Process(settings.main, self.write)
        self.learned: str | None = None  # where a warm server looks for what is imported

    def complain(self, what: str) -> None:
        """Note a problem for the report, and say it in one sentence."""
        self.problems.append(what)
        _say(what + ".")

    def retire(self) -> None:
        """Leave this process and its children to another: what that one does comes later."""
        self.watch.remove()
        self.process.retired = True

    def write(self) -> None:
        """Add this process's line to the report; a failure is one sentence and nothing else."""
        path = self.settings.report
        if path is None:
            return
        collects = gc.isenabled()
        gc.disable()  # the program has ended: there is nothing to find that would be worth 60 ms
        try:
            from . import imports  # only now, for most of a job's processes are short

            learns = self.learned and self.process.role == "main"
            lasting = imports.lasting(self.directory) if learns else []  # of the program alone
            from . import report

            line = report.collect(self)
            report.append(path, line)
            if self.learned and learns and not line["exit"]["code"]:
                report.learn(self.learned, lasting)
        except Exception as error:  # noqa: BLE001  (the program's exit status is its own)
            _say("the boot report %s could not be written: %s." % (path, error))
        finally:
            if collects:
                gc.enable()


def boot(environ: MutableMapping[str, str]) -> None:
    """Start from the environment, once; end the process with 1 if the variable is malformed.

    A job must not run unseeded without anyone's noticing, and Python's `site` would print an
    exception and go on.
    """
    if Boot.current is not None and Boot.current.process.pid == os.getpid():
        return  # two boot folders on PYTHONPATH
    learned = environ.pop("ML_EXPERIMENT_LEARN", None)
    try:
        start(environ[VARIABLE], environ).learned = learned
    except SettingsError as error:
        _say("%s cannot be used, so nothing is run: %s." % (VARIABLE, error))
        os._exit(1)
    except Exception as error:  # noqa: BLE001  (whatever it is, the job would not be seeded)
        _say("this process could not be seeded, so nothing is run: %r." % error)
        os._exit(1)


def start(config: str, environ: MutableMapping[str, str]) -> Boot:
    """Seed what is imported and what will be, and report when the process ends.

    Args:
        config: the text of ML_EXPERIMENT_BOOT.
        environ: the environment that child processes get; the variable in it is rewritten with
            the absolute path of the report and the id of this process.

    Raises:
        SettingsError: the text is malformed.
    """
    directory = os.getcwd()
    current = Boot(parse(config, directory), directory)
    if Boot.current is not None:
        Boot.current.retire()  # a forked server's; its job is not this one
    Boot.current = current
    environ[VARIABLE] = current.settings.exported(current.process.main)
    current.watch.install()
    Standalone.install()
    current.generators.watch(current.watch)
    current.process.watch(current.watch, current.generators)
    return current


def finish() -> None:
    """Write the line of this process now, where Python's exit will not be reached."""
    if Boot.current is not None:
        Boot.current.process.finish()


def _say(sentence: str) -> None:
    try:
        sys.stderr.write("ml-experiment: " + sentence + "\n")
        sys.stderr.flush()
    except Exception:  # noqa: BLE001, S110  (there is no standard error to say it on)
        pass
