"""DVC's own exceptions, as a user reads them: one line for what is wrong, and one for what to do."""

from __future__ import annotations

import errno
import logging
from pathlib import Path

import pytest
from dvc.config import ConfigError, NoRemoteError
from dvc.exceptions import CacheLinkError, DownloadError, DvcException, UploadError
from dvc.lock import LockError
from dvc.output import OutputAlreadyTrackedError, OutputDoesNotExistError
from dvc.utils.strictyaml import YAMLSyntaxError

from ml_experiment.adapters import dvc_trouble
from ml_experiment.errors import UserError

FULL = OSError(errno.ENOSPC, "No space left on device", "from", None, "to")
BUSY = (
    "'x' is busy, it is being blocked by:\n  (PID 12): dvc repro\n  (PID 12): dvc repro\n\nIf ..."
)


@pytest.mark.parametrize(
    ("error", "what", "value", "hint"),
    [
        (NoRemoteError("no remote\n    dvc remote"), "has no remote", "", "remote add --default"),
        (ConfigError("'x' is wrong"), "configuration is not valid", "x", ".dvc/config"),
        (LockError(BUSY), "another DVC is at work", "(PID 12): dvc repro", "has ended"),
        (OutputAlreadyTrackedError("a.csv"), "git has this output", "a.csv", "git rm -r --cached"),
        (OutputDoesNotExistError("a.csv"), "not there", "a.csv", "ml-experiment status"),
        (CacheLinkError(["a"]), "cache.type", "a", "dvc config cache.type"),
        (YAMLSyntaxError("dvc.lock", "", ValueError()), "dvc.lock cannot be", "", "git checkout"),
        (
            YAMLSyntaxError("dvc.yaml", "", ValueError()),
            "dvc.yaml cannot be",
            "",
            "-experiment dvc",
        ),
        (YAMLSyntaxError("a.dvc", "", ValueError()), "a.dvc cannot be", "", "checkout -- a.dvc"),
        (DvcException(f"{dvc_trouble.UNSAVED} ...\n/w/a\n/w/b/c"), "", "a, b/c", "dvc commit"),
        (FULL, "the disk is full", "", "`dvc cache dir`"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "Permission denied", "", ""),
        (DvcException("\x1b[31mone\x1b[0m\ntwo"), "DVC: one", "", ""),
    ],
)
def test_what_dvc_raises(error: Exception, what: str, value: str, hint: str) -> None:
    with pytest.raises(UserError) as caught, dvc_trouble.told(Path("/w")):
        raise error
    problem = caught.value.problem
    assert what in problem.what
    assert "\n" not in problem.what
    assert value in str(problem.value) if value else True
    assert hint in (problem.hint or "")


def test_what_it_logs_is_why_something_did_not_come(capsys: pytest.CaptureFixture[str]) -> None:
    def fetch(error: Exception) -> None:
        with dvc_trouble.told(Path("/w")) as heard:
            logging.getLogger("dvc_data.hashfile.transfer").error("failed", exc_info=error)
            assert not heard.only_lacking()
            raise DownloadError(3)

    with pytest.raises(UserError, match="3 objects could not be fetched: refused"):
        fetch(ConnectionError("refused"))
    with pytest.raises(UserError, match="to: the disk is full"):
        fetch(FULL)
    with pytest.raises(UserError, match="1 objects could not be sent"), dvc_trouble.told(Path()):
        raise UploadError(1)
    assert capsys.readouterr() == ("", "")


def test_whatever_a_remote_raises_is_told() -> None:
    with pytest.raises(UserError, match="the remote cannot be used: no such host"):  # noqa: SIM117
        with dvc_trouble.told(Path()), dvc_trouble.remote(Path()):
            raise RuntimeError("no such host\nand more")
