"""What DVC and its remotes raise and log, in our words: what is wrong, where, and what to do."""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from dvc.config import ConfigError, NoRemoteError, RemoteNotFoundError
from dvc.exceptions import (
    CacheLinkError,
    CheckoutErrorSuggestGit,
    DownloadError,
    DvcException,
    NoOutputOrStageError,
    NotDvcRepoError,
    OutputNotFoundError,
    StageNotFoundError,
    UploadError,
)
from dvc.lock import LockError
from dvc.output import OutputAlreadyTrackedError, OutputDoesNotExistError, OutputIsIgnoredError
from dvc.rwlock import RWLockFileCorruptedError, RWLockFileFormatError
from dvc.scm import SCMError
from dvc.stage.exceptions import StageFileDoesNotExistError
from dvc.utils.serialize import ParseError
from dvc.utils.strictyaml import YAMLValidationError
from dvc_data.hashfile.cache import DiskError
from dvc_objects.fs.errors import RemoteMissingDepsError

from ml_experiment.errors import MISSING, UserError

LOGGERS = ("dvc", "dvc_data", "dvc_objects")
UNSAVED = "Can't remove the following unsaved files"
LOCK = "`git checkout -- dvc.lock` brings the last whole one back; without one, remove it, and `dvc repro`"
STAGES = "`ml-experiment dvc` writes the stages of the experiment anew"
PLAIN = re.compile(r"\x1b\[[0-9;]*m")
QUOTED = re.compile(r"'([^']+)'")

# Class -> what is wrong, and what to do. The first that fits counts; what is quoted in DVC's own
# message is shown as the value.
SAID: tuple[tuple[tuple[type[Exception], ...], str, str], ...] = (
    ((NotDvcRepoError,), "there is no DVC repository here", "`dvc init` makes one"),
    (
        (SCMError,),
        "DVC finds no git repository here",
        "`git init`; or `dvc config core.no_scm true`, for DVC without git",
    ),
    (
        (NoRemoteError,),
        "DVC has no remote here, or none that is the default",
        "`dvc remote add --default NAME URL`",
    ),
    ((RemoteNotFoundError,), "DVC knows no such remote", "`dvc remote list` has those there are"),
    ((ConfigError,), "DVC's configuration is not valid", "see .dvc/config and .dvc/config.local"),
    (
        (RWLockFileCorruptedError, RWLockFileFormatError),
        "DVC's list of who is at work cannot be read",
        "where no DVC is running, remove .dvc/tmp/rwlock",
    ),
    (
        (OutputAlreadyTrackedError,),
        "git has this output, so DVC cannot keep it",
        "`git rm -r --cached` it and commit; then `dvc commit`",
    ),
    (
        (OutputDoesNotExistError,),
        "this output is not there, so nothing of its stage is kept",
        "`ml-experiment status` says why, `snakemake` makes it",
    ),
    ((OutputIsIgnoredError,), "this output is ignored by DVC", "see .dvcignore"),
    (
        (CacheLinkError,),
        "no link of the kinds in DVC's cache.type is possible here",
        "`dvc config cache.type reflink,copy`",
    ),
    (
        (
            NoOutputOrStageError,
            OutputNotFoundError,
            StageNotFoundError,
            StageFileDoesNotExistError,
            CheckoutErrorSuggestGit,
        ),
        "no stage of DVC's has this name or output",
        "dvc.yaml and the .dvc files have those there are",
    ),
    (
        (RemoteMissingDepsError,),
        "a library that this remote needs is not installed",
        "`pip install dvc-s3` for S3, dvc-ssh for SSH, and so on",
    ),
    ((DiskError,), "DVC cannot write its own files", "is the disk full, or not to be written to?"),
)


class Heard(logging.Handler):
    """Errors that DVC logs while it goes on: it then raises no more than how many there were."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[BaseException] = []
        self.before: dict[str, list[logging.Handler]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the error of a line."""
        if record.exc_info and record.exc_info[1] is not None:
            self.errors.append(record.exc_info[1])

    def only_lacking(self) -> bool:
        """Whether all that went wrong is that a remote lacks objects."""
        return bool(self.errors) and all(isinstance(e, FileNotFoundError) for e in self.errors)

    def __enter__(self) -> Self:
        """Nothing is printed from here on."""
        for name in LOGGERS:
            logger = logging.getLogger(name)
            self.before[name] = logger.handlers[:]
            logger.handlers[:] = [self]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name, handlers in self.before.items():
            logging.getLogger(name).handlers[:] = handlers


@contextmanager
def told(folder: Path) -> Iterator[Heard]:
    """Whatever DVC raises or logs in here is a UserError, and nothing is printed."""
    with Heard() as heard:
        try:
            yield heard
        except (DownloadError, UploadError) as error:
            raise transfer(error, heard, folder) from None
        except (DvcException, RemoteMissingDepsError, DiskError) as error:
            raise of_dvc(error, folder) from None
        except OSError as error:
            raise _of_system(error, folder) from None


@contextmanager
def remote(folder: Path) -> Iterator[None]:
    """A remote's library may raise anything: where it does, it is the remote that is in trouble."""
    try:
        yield
    except (DvcException, RemoteMissingDepsError, DiskError, OSError, UserError):
        raise  # these are told of elsewhere
    except Exception as error:  # noqa: BLE001  # each library has errors of its own
        raise UserError(
            f"the remote cannot be used: {_line(error)}",
            where=str(folder),
            hint="nothing here was changed; again when it can be reached",
        ) from None


def transfer(error: DownloadError | UploadError, heard: Heard, folder: Path) -> UserError:
    """Objects that did not come or go: how many, and why the first of them did not."""
    full = next((each for each in heard.errors if _is_full(each)), None)
    if isinstance(full, OSError):
        return _of_system(full, folder)
    sent = "sent" if isinstance(error, UploadError) else "fetched"
    why = f": {_line(heard.errors[0])}" if heard.errors else ""
    return UserError(
        f"{error.amount} objects could not be {sent}{why}",
        where=str(folder),
        hint="nothing is lost, and what got through is there; again when the remote can be reached",
    )


def uncached(digests: Sequence[str], heard: Heard, folder: Path) -> UserError:
    """Objects that the cache lacks after a commit: why the first of them could not be written."""
    system = [each for each in heard.errors if isinstance(each, OSError)]
    full = next((each for each in system if _is_full(each)), None)
    if full is not None:
        return _of_system(full, folder)
    why = f": {_line(heard.errors[0])}" if heard.errors else ""
    return UserError(
        f"{len(digests)} objects are not in DVC's cache although they were put there{why}",
        where=str(folder),
        value=digests[0],
        hint="dvc.lock is as it was: can the cache be written to (`dvc cache dir`)? Then `dvc commit`",
    )


def of_dvc(error: Exception, folder: Path) -> UserError:
    """What DVC has raised."""
    text = str(error)
    if isinstance(error, LockError):
        busy = re.findall(r"\(PID \d+\): .*", text)
        return UserError(
            "another DVC is at work here",
            where=str(folder),
            value=", ".join(dict.fromkeys(busy)) if busy else MISSING,
            hint="again when it has ended",
        )
    if isinstance(error, (ParseError, YAMLValidationError)):
        return unreadable(str(getattr(error, "path", "")) or _named(error), folder)
    if text.startswith(UNSAVED):
        files = [os.path.relpath(line, folder) for line in text.splitlines()[1:]]
        return UserError(
            "DVC's cache does not have these files as they are, and others would take their place",
            where=str(folder),
            value=", ".join(files),
            hint="`dvc commit` keeps those here; `dvc checkout --force` takes those of dvc.lock",
        )
    for kinds, what, hint in SAID:
        if isinstance(error, kinds):
            named = QUOTED.search(text)
            value = named[1] if named and kinds[0] is not NotDvcRepoError else MISSING
            return UserError(what, where=str(folder), value=value, hint=hint)
    return UserError(f"DVC: {_line(error)}", where=str(folder))


def unreadable(file: str, folder: Path) -> UserError:
    """A file of DVC's that is half written, has git's marks of a conflict, or is none."""
    name = os.path.basename(file)
    hint = {"dvc.lock": LOCK, "dvc.yaml": STAGES}.get(name, f"`git checkout -- {name}`")
    what = f"{name} cannot be read: half written, with a conflict of git's, or no file of DVC's"
    return UserError(what, where=str(folder), hint=hint)


def _named(error: Exception) -> str:
    named = QUOTED.search(str(error))
    return named[1] if named else ""


def _of_system(error: OSError, folder: Path) -> UserError:
    where = str(error.filename2 or error.filename or folder)
    if _is_full(error):
        return UserError(
            "the disk is full",
            where=where,
            hint="outputs and dvc.lock are as they were: make room (`dvc cache dir` says where "
            "the cache is), then `dvc commit` or the same command again",
        )
    return UserError(f"DVC: {_line(error)}", where=where)


def _is_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _line(error: BaseException) -> str:
    """The first line of what an error says, without colours."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    lines = [line.strip() for line in PLAIN.sub("", said).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
