"""What a command ends with, whatever stops it."""

from __future__ import annotations

import errno

import pytest

from ml_experiment.cli import commands, main


@pytest.mark.parametrize(
    ("stop", "code", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "a.txt"),
            2,
            "a.txt: No space left on device\n",
        ),
        (PermissionError(errno.EACCES, "Permission denied"), 2, "Permission denied\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_the_machine_refuses_is_a_sentence(
    stop: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refused(_: object) -> int:
        raise stop

    monkeypatch.setattr(commands, "status", refused)
    assert main.main(["status"]) == code
    assert capsys.readouterr().err == said
