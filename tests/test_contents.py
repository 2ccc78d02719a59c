"""What is in an image, and how two images differ."""

from __future__ import annotations

from ml_experiment import contents


def test_packages_and_how_they_differ() -> None:
    listing = "python\tPyYAML\t6.0\ndebian\tbash:amd64\t5\nnoise\nhas\tbash\t1\n"
    found = contents.packages(listing)
    assert found == {
        "debian": {"bash:amd64": "5"},
        "has": {"bash": "1"},
        "python": {"pyyaml": "6.0"},
    }
    other = {**found, "python": {"pyyaml": "7.0", "six": "1"}}
    lines = ["python pyyaml: 6.0 → 7.0", "python six: not there → 1"]
    assert contents.package_differences(found, other) == lines


def test_files_and_how_they_differ() -> None:
    file = ("0", "0o644", "0:0", "", "ab")
    before = {"a": file, "b": file, "c": file}
    after = {"a": file, "b": (*file[:1], "0o600", *file[2:4], "cd"), "d": file}
    assert contents.file_differences(before, after) == [
        "b: mode, content",
        "c: only in the first",
        "d: only in the second",
    ]
