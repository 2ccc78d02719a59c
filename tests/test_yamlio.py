"""YAML and JSON: safe, by YAML 1.2's rules, with the line of everything."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_experiment import yamlio
from ml_experiment.errors import ExperimentError, MLExperimentError, Place
from tests.experiments import plan

PLAIN = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PLAIN, inner, max_size=4),
)  # fmt: skip


def as_lists(value: Any) -> Any:
    if isinstance(value, tuple):
        return [as_lists(item) for item in value]
    return {k: as_lists(v) for k, v in value.items()} if isinstance(value, dict) else value


@given(st.dictionaries(PLAIN, VALUES), st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_json_means_what_it_says(data: dict[str, Any], ascii_: bool, indent: Any) -> None:
    text = json.dumps(data, ensure_ascii=ascii_, indent=indent)
    try:
        found = as_lists(yamlio.read(text, "x.json").plain())
    except ExperimentError as error:  # YAML refuses some raw control characters, and says so
        said = str(error)
    else:
        assert found == data
        assert json.dumps(found) == json.dumps(data)
        return
    assert not ascii_, said
    assert "not valid YAML" in said


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("on", "on"), ("y", "y"), ("1e3", 1000.0), ("1.0e-3", 0.001), ("010", 10),
        ("0o10", 8), ("0x1F", 31), ("2020-01-01", "2020-01-01"), ("1:30", "1:30"), ("1_000", "1_000"),
        ("+1", 1), (".5", 0.5), ("-.inf", -math.inf), ("True", True), ("~", None), ("", None),
        ("'3'", "3"), ("null", None), ("1.", 1.0), ("=", "="), ("!!str 3", "3"),
    ],
)  # fmt: skip
def test_scalars_of_yaml_1_2(text: str, value: Any) -> None:
    found = yamlio.read(f"a: {text}\n", "x.yaml").plain()["a"]
    assert found == value
    assert type(found) is type(value)


def test_nan() -> None:
    assert math.isnan(yamlio.read("a: .nan", "x.yaml").plain()["a"])


def test_places() -> None:
    found = yamlio.places(yamlio.read("a:\n  b: 1\n  c:\n  - x\n  - y\n", "f.yaml"))
    lines = {key: place.line for key, place in found.items()}
    assert lines == {
        (): 1,
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "c"): 3,
        ("a", "c", "0"): 4,
        ("a", "c", "1"): 5,
    }
    assert yamlio.nearest_place(found, ("a", "z", "q")) == Place("f.yaml", 1)


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("a: 1\na: 2\n", 2, "this key is here twice"),
        ("a: {b: 1,\n b: 2}\n", 2, "this key is here twice"),
        ("a: 1\n'a': 2\n", 2, "this key is here twice"),
        ("x: &x {a: 1}\ny:\n  <<: *x\n", 3, "merge keys"),
        ("a: &a [*a]\n", 1, "contains itself"),
        ("a: &a {b: *a}\n", 1, "contains itself"),
        (LAUGHS, None, "too large"),
        ("a:\n\t- b\n", 2, "not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, "!!python/object/apply:os.system"),
        ("a: !foo 1\n", 1, "a YAML tag (!foo)"),
        ("!foo a: 1\n", 1, "not a plain name"),
        ("a: !!binary aGk=\n", 1, "!!binary"),
        ("a: !!set {b}\n", 1, "!!set"),
        ("a: !!int x\n", 1, "!!int"),
        ("? [a]\n: 1\n", 1, "not a plain name"),
        ("a: *b\n", 1, "not valid YAML"),
        ("a: 1\n---\nb: 2\n", 2, "not valid YAML"),
        ("a: b: c\n", 1, "not valid YAML"),
        ("a: \"\\ud800\"\n", 1, "not valid YAML"),
        ("a: \"x\\0\"\n", 1, "NUL"),
        ("a: " + "1" * 1001, 1, "more than 1000 digits"),
        ("a: \x07\n", 1, "not valid YAML"),
        ("[" * 100_000, 1, "without end"),
        ("- " * 100_000, 1, "without end"),
        ("-  " * 100_000 + "a", 1, "without end"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, line: int | None, what: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        yamlio.read(text, "x.yaml")
    first = caught.value.problems[0]
    assert what in first.what
    assert first.where is not None
    assert line is None or first.where.line == line


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "not valid JSON"), ("{", "not valid JSON"), ("{'a': 1}", "not valid JSON"),
        ("{\"a\": 1,}", "not valid JSON"), ("{\"a\": NaN}", "NaN is no number"), ("a: 1", "not valid JSON"),
        ("{\"a\": \"\t\"}", "not valid JSON"), ("[" * 100_000, "not valid JSON"),
        ("{\"a\": " + "1" * 5000 + "}", "not valid JSON"), ("{\"a\": 1, \"a\": 2}", "twice"),
        ("{\"a\": \"\\ud800\"}", "not valid"), ("{\"a\": \"\\u0000\"}", "NUL"),
    ],
)  # fmt: skip
def test_json_that_is_refused(text: str, what: str) -> None:
    with pytest.raises(ExperimentError, match=what):
        yamlio.read(text, "x.json")


def test_json_with_tabs_and_pairs() -> None:
    text = '{\n\t"a":\t"\\ud83d\\ude00",\r\n\t"b": "\\\\ud83d\\\\ude00"}'
    assert yamlio.read(text, "x.json").plain() == {"a": "\U0001f600", "b": "\\ud83d\\ude00"}


def test_forms_of_a_file(tmp_path: Path) -> None:
    text = "name: x\r\nsteps:\r\n  a:\r\n    run: |\r\n      x {metrics}\r\n      y\r\n    metrics: m\r\n"
    file = tmp_path / "experiment.yaml"
    for content in (text, "\ufeff" + text, text.replace("\r\n", "\n")):
        file.write_bytes(content.encode())
        from ml_experiment.workspace import open_plan

        assert open_plan(file).steps["a"].cases[0].work.run == "x {metrics}\ny\n"


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"name: \xff\n", "experiment.yaml:1: not UTF-8"),
        (b"a: 1\nname: \xe9\n", "experiment.yaml:2: not UTF-8"),
        (b"", "name` is missing"), (b"# only\n", "name` is missing"), (b"- a\n", "not an experiment"),
        (b"3", "not an experiment"), ("a: 1".encode("utf-16"), "not UTF-8"), (b"a\0b: 1", "not valid YAML"),
    ],
)  # fmt: skip
def test_files_that_are_none(tmp_path: Path, content: bytes, match: str) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_bytes(content)
    from ml_experiment.workspace import open_plan

    with pytest.raises(MLExperimentError, match=match):
        open_plan(file)


@pytest.mark.parametrize("value", [object(), b"x", {1, 2}, "a\0", {"a": ["\ud800"]}])
def test_data_that_no_file_can_say(value: Any) -> None:
    with pytest.raises(ExperimentError):
        yamlio.of_data({"a": value}, Place("x"))


def test_aliases_are_read(tmp_path: Path) -> None:
    text = (
        "params: {a: &l [1, 2], b: *l}\nsteps: {a: {run: 'x {metrics} {params.b}', metrics: m}}\n"
    )
    assert plan(tmp_path, text).steps["a"].cases[0].params == {"b": (1, 2)}


def test_nothing_is_constructed() -> None:
    code = "from ml_experiment import yamlio; import sys; print('numpy' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
        == b"False\n"
    )
