"""Placeholders: what a program receives is exactly the value, and nothing of it is ever run."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_experiment import placeholders
from ml_experiment.placeholders import Placeholder, parse, render

# What a command line can hold: all of Unicode but NUL and halves of surrogate pairs.
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
NASTY = st.sampled_from(
    [
        "$(touch RAN)",
        "`touch RAN`",
        "';touch RAN;'",
        '";touch RAN;"',
        "x[$(touch RAN)]",
        "\ntouch RAN\n",
        "-n",
        "--",
        "1",
        "if",
        "eval",
        "A=b",
        "*",
        "~",
        "~root",
        "{a,b}",
        "a b",
        "",
        "\\",
        "!x",
        "#",
        "\t",
    ]
)

# Commands in which `show` must receive the value as one word, written V here.
ACCEPTED = [
    "show {params.v}",
    "show --x={params.v}",
    "show a{params.v}b",
    "show {params.v}/x",
    "show {params.v} > /dev/null; show {params.v}",
    "show {params.v}>&1",
    "show 1 | cat; show {params.v} | cat",
    "true && show {params.v} || show never",
    "if true; then show {params.v}; fi",
    "for i in {params.v}; do show \"$i\"; done",
    "A={params.v} && show \"$A\"",
    "export A={params.v}; show \"$A\"",
    "A=({params.v}); show \"${{A[0]}}\"",
    "echo \"$(show {params.v})\"",
    "echo $(echo $(echo 1); show {params.v} | tr -d ' ') > /dev/null; show {params.v}",
    "cat <(show {params.v})",
    "(cd /; true); show {params.v}",
    "f() {{ show \"$1\"; }}; f {params.v}",
    "show $'it\\'s' {params.v}",
    "show \"$(date +%Y >/dev/null)\" 'a' {params.v}",
    "show $((1 + (2))) {params.v}",
    "show ${{HOME:-x}} {params.v}",
    "case a in a) show {params.v};; esac",
    "case {params.v} in *) show {params.v};; esac",
    "show \\\n  {params.v}",
    "show a\\ b {params.v}",
    "! show {params.v}",
    "time -p show {params.v} 2>/dev/null",
    "show <<< {params.v} {params.v}",
    "[ -n {params.v} ] || true; show {params.v}",
    "printf -- %s {params.v} >/dev/null; show {params.v}",
    "[[ a == a ]] && show {params.v}",
    "awk 'BEGIN {{ print \"{{\" }}' >/dev/null; show {params.v}",
]  # fmt: skip

REFUSED = {
    "single quotes": ["show '{params.v}'", "show $'{params.v}'", "show $'\\'{params.v}'", "awk '{{print}}{params.v}'"],
    "double quotes": ['show "{params.v}"', 'show "$(date)" "a{params.v}"', 'show $"{params.v}"', 'show "\'{params.v}\'"'],
    "backticks": ["show `show {params.v}`", "show `date` {params.v}", 'show "`date`" {params.v}'],
    "backslash": ["show \\{params.v}"],
    "arithmetic": ["show $(({params.v}))", "(({params.v}))", "for ((i=0;i<{params.v};i++)); do :; done", "show $((1+({params.v})))"],
    "$[": ["show $[{params.v}]"],
    "${": ["show ${{x:-{params.v}}}", "show ${{x[{params.v}]}}"],
    "here-document": ["cat <<EOF\n{params.v}\nEOF", "cat <<'E'\nE\nshow {params.v}", "cat <<-{params.v}\n", "cat <<\"$x\"\n{params.v}"],
    "[[": ["[[ {params.v} -eq 1 ]]", "[[ -n x && ( a == b || {params.v} -eq 1 ) ]]"],
    "square brackets": ["a[{params.v}]=1", "ls [{params.v}]", "show x[{params.v}"],
    "subscript": ["a[ {params.v} ]=1"],
    "braces": ["show {{a,{params.v}}}", "show {{1..{params.v}}}"],
    "~": ["show ~{params.v}", "A=~{params.v}", "A=x:~us{params.v}"],
    "program": ["{params.v}", "true; {params.v} x", "if {params.v}; then :; fi", "A=1 {params.v}", "command {params.v}", "f() {{ {params.v}; }}"],
    ">&": ["show >&{params.v}", "show >& {params.v}", "show <&{params.v}", "show >&a{params.v}"],
    "`eval`": ["eval {params.v}", "eval show {params.v}", "\\eval {params.v}", "'eval' {params.v}", "builtin eval {params.v}", "command -p eval {params.v}", "time -p eval {params.v}", "f() {{ eval {params.v}; }}"],
    "`let`": ["let {params.v}", "let x={params.v}"],
    "`declare`": ["declare {params.v}", "declare -i A={params.v}"],
    "`export`": ["export {params.v}", "export -n A={params.v}"],
    "`printf`": ["printf {params.v}", "printf -v {params.v} x", "printf -v{params.v} x"],
    "`[`": ["[ -v {params.v} ]", "[ {params.v} {params.v} ]"],
    "`trap`": ["trap {params.v} EXIT"],
    "`read`": ["read {params.v}"],
    "`for`": ["for {params.v} in a; do :; done"],
    "comment": ["show # {params.v}", "show {params.v} # x", "# a\nshow {params.v}", "show;#{params.v}", "show \\\n# x"],
    "a single": ["show {", "show }"],
    "names nothing": ["show {x}", "show {inputs}", "show {inputs.}", "show {seed.x}", "show {}", "show { params.v }", "awk '{print}'"],
    "$V": ["show ${params.v}"],
    "within a word": ["show $\\\n{params.v}", "show <\\\n<E\n{params.v}"],
    "array": ["x=( ! ; {params.v} )"],
    "`case`": ["show \"$(case x in x) show \"{params.v}\";; esac)\""],
}  # fmt: skip


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the program `show`, which prints its arguments one by one."""
    folder = tmp_path_factory.mktemp("box")
    (folder / "bin").mkdir()
    show = folder / "bin" / "show"
    show.write_text('#!/bin/sh\nfor a in "$@"; do printf \'<%s>\' "$a"; done\n')
    show.chmod(0o755)
    return folder


def bash(box: Path, command: str) -> bytes:
    environ = {"PATH": f"{box}/bin:{os.environ['PATH']}", "LC_ALL": "C.UTF-8", "HOME": "/"}
    return subprocess.run(
        ["bash", "-c", command],
        cwd=box,
        env=environ,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=20,
        check=False,
    ).stdout


def batch(template: placeholders.Template, values: list[str]) -> str:
    """One script of several renderings, as starting bash is what takes the time."""
    return "\n".join(f"({render(template, {'params': {'v': v}})}\n)\necho" for v in values)


@pytest.mark.parametrize("text", ACCEPTED)
def test_a_value_arrives_as_it_is(box: Path, text: str) -> None:
    template = parse(text)
    assert template.problems == ()

    @settings(max_examples=3)
    @given(st.lists(TEXTS | NASTY, min_size=20, max_size=20))
    def check(values: list[str]) -> None:
        plain = bash(box, render(template, {"params": {"v": "VALUE"}}))
        assert b"VALUE" in plain
        expected = b"\n".join(plain.replace(b"VALUE", v.encode()) for v in values) + b"\n"
        if text.count('echo "$(') or "<(" in text or "time" in text:  # these add or drop newlines
            values = [v for v in values if "\n" not in v]
            expected = b"\n".join(plain.replace(b"VALUE", v.encode()) for v in values) + b"\n"
        assert bash(box, batch(template, values)) == expected if values else True
        assert not (box / "RAN").exists()

    check()


@pytest.mark.parametrize(
    ("word", "text"), [(word, text) for word, texts in REFUSED.items() for text in texts]
)
def test_other_places_are_refused(word: str, text: str) -> None:
    word = {"$V": "for the shell's variable", "program": "place of the program"}.get(word, word)
    assert any(word in problem for problem in parse(text).problems), parse(text).problems


FRAGMENTS = (
    ["show ", "show ", "{params.v}", " {params.v} ", "{params.v}", " ", "'", '"', "\n", "\\", "\\\n", ";", "&&", "|", "$", "$$", "$'", "`", "$(", "(", ")", "((", "))", "$((", "]", "[", "[[ ", " ]]", "{{", "}}", "${{x:-", "a=", "=", "~", "*", "#", "!", "<", "<<E\n", "\nE\n", "<<<", ">", "2>", "&>", ">&", "case a in a) ", ";; esac", "for i in ", "; do ", "; done", "if ", "then ", "fi", "eval ", "x", "1", "a,b", "..", "printf ", "-v ", "test ", "export A=", "f() {{ ", "; }}", "<(", "x=( ", "a[", "]=1", "\\e", "'e'", "val "]
)  # fmt: skip


def test_random_commands_run_nothing_of_a_value(box: Path) -> None:
    """Whatever is accepted: another value changes what programs get, and nothing else."""
    dice = random.Random(20261123)
    hostile = ["$(touch RAN)", "x[$(touch RAN)]", "\ntouch RAN\n", "';touch RAN;'"]
    accepted = 0
    while accepted < 150:
        text = "".join(dice.choice(FRAGMENTS) for _ in range(dice.randint(2, 9)))
        template = parse(text)
        if "{params.v}" not in text or template.problems or "$$" in text:
            continue
        accepted += 1
        value = dice.choice(hostile)
        plain = bash(box, render(template, {"params": {"v": "VALUE"}}))
        other = bash(box, render(template, {"params": {"v": value}}))
        assert not (box / "RAN").exists(), (text, value)
        assert other == plain.replace(b"VALUE", value.encode()), (text, value)


def test_a_list_is_all_its_items(box: Path) -> None:
    template = parse("show {params.v} {seed} {metrics}")
    values = {"params": {"v": ["a b", "c", True, 1.5, None]}, "seed": 3, "metrics": "m.json"}
    assert bash(box, render(template, values)) == b"<a b><c><true><1.5><null><3><m.json>"


def test_paths_stay_readable() -> None:
    template = parse("python fit.py {inputs.train} --out={outputs.model}")
    paths = {"inputs": {"train": "results/split/train.csv"}, "outputs": {"model": "m.joblib"}}
    assert render(template, paths) == "python fit.py results/split/train.csv --out=m.joblib"


def test_a_path_may_be_the_program() -> None:
    assert parse("{inputs.tool} --seed {seed}").problems == ()


def test_all_problems_are_told() -> None:
    problems = parse("show '{inputs.a}' {b} ${seed} # x").problems
    assert len(problems) == 4


def test_parts_and_words() -> None:
    template = parse("python {{}} {inputs.a}x > 'o p'")
    assert template.placeholders == (Placeholder("inputs", "a"),)
    assert str(template.placeholders[0]) == "{inputs.a}"
    assert template.words == ("python", "{}", "\0x", ">", "o p")
    assert parse("python 'x").words == ("python", "'x")


def test_variables() -> None:
    assert placeholders.variable("params", "learn-rate") == "ML_EXPERIMENT_PARAMS_LEARN_RATE"
    assert placeholders.variable("seed") == "ML_EXPERIMENT_SEED"


@given(TEXTS)
def test_any_text_can_be_read(text: str) -> None:
    template = parse(text)
    assert all(isinstance(problem, str) for problem in template.problems)
    literal = "".join(part for part in template.parts if isinstance(part, str))
    if "{" not in text and "}" not in text:
        assert literal == text
