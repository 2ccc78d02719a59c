"""A requirements.txt as pip reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_experiment import requirements
from ml_experiment.errors import UserError

LIST = """\
# all of it
-r more/base.txt  # what everybody has
--constraint=limits.txt
--index-url https://me:${TOKEN}@index.example/simple --trusted-host index.example
--extra-index-url=https://other.example/simple
-fmine
--find-links elsewhere
--pre
--require-hashes
-e .
six==1.0 \\
    --hash=sha256:00
"""


def envs(folder: Path, **files: str) -> Path:
    """The list of the environment `x`, beside other files."""
    made = folder / "envs/x"
    for name, text in files.items():
        file = made / f"{name.replace('__', '/')}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    return made / "requirements.txt"


def test_what_a_list_and_the_files_that_it_names_say(tmp_path: Path) -> None:
    files = {"more__base": "-r deeper.txt\none\n", "more__deeper": "two\n-r base.txt\n"}
    file = envs(tmp_path, requirements=LIST, limits="three<4\n", **files)
    (file.parent / "mine").mkdir()
    found = requirements.listed(file)
    assert [each.relative_to(file.parent).as_posix() for each in found.files] == [
        "requirements.txt",
        "more/base.txt",
        "more/deeper.txt",
        "limits.txt",
    ]
    assert [each.split()[0] for each in found.asked] == ["two", "one", "six==1.0"]
    assert found.limits == ["three<4"]
    assert found.options == [
        "--index-url 'https://me:${TOKEN}@index.example/simple'",
        "--trusted-host index.example",
        "--extra-index-url https://other.example/simple",
        f"-f {file.parent}/mine",
        "-f elsewhere",
        "--pre",
    ]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("-r ../y/base.txt", "-r ../y/base.txt is outside of envs/x"),
        ("-c /etc/limits.txt", "-c /etc/limits.txt is outside of envs/x"),
        ("-r https://example.org/base.txt", "is not in envs/x"),
        ("-r none.txt", "-r none.txt is not in envs/x"),
        ("--index-url 'secret", "pip cannot read"),
    ],
)
def test_a_file_elsewhere_is_refused(line: str, told: str, tmp_path: Path) -> None:
    file = envs(tmp_path, requirements=f"{line}\n", **{"../y/base": "one\n"})
    with pytest.raises(UserError, match=told) as raised:
        requirements.listed(file)
    assert "envs/x/requirements.txt" in str(raised.value)
    assert "secret" not in str(raised.value)
