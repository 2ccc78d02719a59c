"""What was sent is known after a crash at any moment."""

from __future__ import annotations

from pathlib import Path

from ml_experiment import ledger


def test_what_was_completed_and_what_was_only_begun(tmp_path: Path) -> None:
    book = ledger.ledger(tmp_path, "sqlite:///x")
    for key in ("record:a", "record:b"):
        book.begin(key)
    book.complete("record:a", "1")
    for known in (book, ledger.ledger(tmp_path, "sqlite:///x")):
        assert known.sent == {"record:a": "1"}
        assert known.begun == {"record:b"}
        assert known.last == "1"


def test_an_experiment_that_was_met_is_no_run(tmp_path: Path) -> None:
    book = ledger.ledger(tmp_path, "x")
    book.complete("record:a", "1")
    book.complete(ledger.met("one"), "7")
    for known in (book, ledger.ledger(tmp_path, "x")):
        assert known.sent == {"record:a": "1", "experiment:one": "7"}
        assert known.last == "1"


def test_each_server_has_its_own_and_no_address_is_shown(tmp_path: Path) -> None:
    ledger.ledger(tmp_path, "https://me:secret@server").complete("record:a", "1")
    assert ledger.ledger(tmp_path, "https://me:secret@other").sent == {}
    text = "".join(f"{p}{p.read_text()}" for p in tmp_path.rglob("*") if p.is_file())
    assert "secret" not in text


def test_a_server_that_forgot_everything(tmp_path: Path) -> None:
    book = ledger.ledger(tmp_path, "x")
    book.complete("record:a", "1")
    book.void()
    assert ledger.ledger(tmp_path, "x").sent == {}
    assert [p.suffix for p in book.file.parent.iterdir()] == [".old"]


def test_what_another_process_has_sent_meanwhile(tmp_path: Path) -> None:
    book, other = (ledger.ledger(tmp_path, "x") for _ in range(2))
    other.complete("record:a", "1")
    other.begin("record:b")
    assert not book.refresh()
    book.complete("record:c", "3")
    for known in (book, other):
        assert not known.refresh()
        assert known.sent == {"record:a": "1", "record:c": "3"}
        assert (known.begun, known.last) == ({"record:b"}, "3")


def test_another_process_that_began_anew(tmp_path: Path) -> None:
    book = ledger.ledger(tmp_path, "x")
    book.complete("record:a", "1")
    book.refresh()
    other = ledger.ledger(tmp_path, "x")
    other.void()
    other.complete("record:b", "2")
    assert book.refresh()
    assert (book.sent, book.last) == ({"record:b": "2"}, "2")
