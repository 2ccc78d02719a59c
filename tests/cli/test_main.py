"""What a command ends with, whatever stops it."""

from __future__ import annotations

import errno
import io
import sys

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


def test_a_terminal_without_our_characters_gets_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    monkeypatch.setattr(commands, "status", lambda _: min(0, sys.stdout.write("a · b\n")))
    assert main.main(["status"]) == 0
    sys.stdout.flush()
    assert written.getvalue() == b"a ? b\n"
