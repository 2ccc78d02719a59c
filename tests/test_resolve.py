"""Experiments that are wrong: one precise message for each mistake, all of them at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.experiments import plan, problem, problems

STEP = "steps:\n  a:\n    run: touch {outputs.o}\n    outputs: {o: o.txt}\n"
FIT = "steps:\n  a:\n    call: code:fit\n    metrics: m.json\n"
MANY = (
    "axes: {size: [1, 2], method: [x, y]}\n"
    "steps:\n"
    "  a: {run: 'touch {metrics} {matrix.size}', metrics: m.json, matrix: [size]}\n"
)


def step(extra: str) -> str:
    """The smallest step with further keys, in the flow style."""
    return f"steps:\n  a: {{run: 'touch {{outputs.o}}', outputs: {{o: o.txt}}, {extra}}}\n"


# text -> line, key, part of what is said, part of value or hint
ONE = [
    ("stepz: {}\n", 2, "stepz", "unknown key", "did you mean steps?"),
    ("seed: -1\n", 2, "seed", "not allowed here", "0 to 2147483647"),
    ("seed: 2147483648\n", 2, "seed", "not allowed here", "0 to 2147483647"),
    ("seed: true\n", 2, "seed", "wrong type", "a whole number"),
    ("seed: 1.0\n", 2, "seed", "wrong type", "a whole number"),
    ("seed: '1'\n", 2, "seed", "wrong type", "a whole number"),
    ("name: ''\n", 1, "name", "not allowed here", "the experiment's name"),
    ("steps: [a]\n", 2, "steps", "wrong type", "a mapping of step names"),
    ("steps: {a: }\n", 2, "steps.a", "wrong type", "a mapping with run or call"),
    ("steps: {run: [1]}\n", 2, "steps.run", "wrong type", "a mapping with run or call"),
    ("steps: {1a: {}}\n", 2, "steps.1a", "not a name", "letters"),
    ("steps: {a.b: {}}\n", 2, "steps.a.b", "not a name", "letters"),
    ("steps: {'': {}}\n", 2, "steps.", "not a name", "letters"),
    ("axes: {x: []}\n", 2, "axes.x", "not allowed here", "a list of values"),
    ("axes: {x: 1}\n", 2, "axes.x", "wrong type", "a list of values"),
    ("axes: {x: [1, [2]]}\n", 2, "axes.x.1", "wrong type", "a text, a number"),
    ("axes: {x-y: [1]}\n", 2, "axes.x-y", "not a name", "an axis: no -"),
    ("environment: nope\n", 2, "environment", "no such environment", "envs/nope"),
    ("variants: {smoke: 1}\n", 2, "variants.smoke", "wrong type", "name: {dotted key"),
    (step("thread: 1"), 3, "steps.a.thread", "unknown key", "did you mean threads?"),
    (step("threads: 0"), 3, "steps.a.threads", "not allowed here", "a whole number from 1"),
    (step("threads: many"), 3, "steps.a.threads", "wrong type", "a whole number from 1"),
    (step("replicates: 0"), 3, "steps.a.replicates", "not allowed here", "from 1"),
    (step("replicates: true"), 3, "steps.a.replicates", "wrong type", "from 1"),
    (step("replicates: 2.0"), 3, "steps.a.replicates", "wrong type", "from 1"),
    (step("replicates: {}"), 3, "steps.a.replicates.seeds", "is missing", "whole numbers"),
    (step("replicates: {seeds: []}"), 3, "steps.a.replicates.seeds", "not allowed", "whole"),
    (step("replicates: {seeds: [1, -1]}"), 3, "steps.a.replicates.seeds.1", "not allowed", "whole"),
    (step("replicates: {seeds: [1, 2, 1]}"), 3, "steps.a.replicates", "listed twice", "[1, 2, 1]"),
    (step("replicates: {seed: [1], seeds: [2]}"), 3, "steps.a.replicates.seed", "unknown", "seeds"),
    (step("timeout: 0s"), 3, "steps.a.timeout", "not allowed here", "90s"),
    (step("gpus: .nan"), 3, "steps.a.gpus", "not allowed here", "0.5"),
    (step("gpus: .inf"), 3, "steps.a.gpus", "not allowed here", "0.5"),
    (step("env: [A=B]"), 3, "steps.a.env.0", "not allowed here", "environment variables"),
    (step("params: {a b: 1}"), 3, "steps.a.params.a b", "not a name", "letters"),
    (step("environment: nope"), 3, "steps.a.environment", "no such environment", "envs/nope"),
    (step("like: b"), 3, "steps.a.like", "no such step", "b"),
    (step("like: a"), 3, "steps.a.like", "a circle of `like`", "a -> a"),
    (step("matrix: [x]"), 3, "steps.a.matrix", "no such axis", "axes:"),
    (step("matrix: {}"), 3, "steps.a.matrix", "a matrix without axes", "name axes"),
    (step("matrix: {include: [{}]}"), 3, "steps.a.matrix", "a matrix without axes", "name axes"),
    (step("matrix: {x: []}"), 3, "steps.a.matrix.x", "not allowed here", "values of this axis"),
    (step("matrix: {a b: [1]}"), 3, "steps.a.matrix", "not a name", "a b"),
    (step("matrix: {x: [1, '1']}"), 3, "steps.a.matrix", "write the same files", "1"),
    (step("matrix: {x: [a, A]}"), 3, "steps.a.matrix", "write the same files", "a"),
    (step("matrix: {seed: [1]}"), 3, "steps.a.matrix", "cannot have this name", "seed"),
    (step("matrix: {index: [1]}"), 3, "steps.a.matrix", "cannot have this name", "index"),
    (step("matrix: {x: [1], exclude: [{x: 2}]}"), 3, "steps.a.matrix.exclude.0", "excludes", "2"),
    (step("matrix: {x: [1], exclude: [{x: 1}]}"), 3, "steps.a.matrix", "no combination", "fewer"),
    (step("matrix: {x: [1], y: [1], include: [{x: 2}]}"), 3, "steps.a.matrix.include.0", "every axis", "y"),
    (step("matrix: {x: [1], include: [{x: '1'}]}"), 3, "steps.a.matrix", "two combinations", "x=1"),
    (step(f"matrix: {{x: [{'a' * 300}]}}"), 3, "steps.a.matrix", "too long", "x=aaa"),
    (step("cases: {x: {y: {run: z}}}"), 3, "steps.a.cases.x", "not an axis", "x"),
    (step("matrix: {x: [1]}, cases: {x: {2: {threads: 2}}}"), 3, "steps.a.cases.x.2", "not a value of x", "2"),
    (step("matrix: {x: [1]}, cases: {x: {1: {outputs: {}}}}"), 3, "steps.a.cases.x.1.outputs", "unknown key", "inputs"),
    (step("inputs: {i: a.o}").replace("touch", "x {inputs.i}"), 3, "steps.a.inputs", "a circle: a needs a", "remove"),
    (step("inputs: {i: ''}"), 3, "steps.a.inputs.i", "not allowed here", "references"),
    (step("inputs: {i: [x, 1]}"), 3, "steps.a.inputs.i.1", "wrong type", "references"),
    (step("params: {x: \"a\\0b\"}"), 3, "steps.a.params.x", "a NUL character", "no command"),
    (step("params: {x: !!python/object:os.system 1}"), 3, "steps.a.params.x", "a YAML tag", "plain"),
    (step("params: {x: !foo [1]}"), 3, "steps.a.params.x", "a YAML tag", "plain value"),
    ("steps:\n  all: {run: 'touch {metrics}', metrics: m}\n", 3, "steps.all", "this name is taken", "all"),
    ("steps:\n  a: {run: 'true'}\n", 3, "steps.a", "writes nothing", "outputs or metrics"),
    ("steps:\n  a: {metrics: m}\n", 3, "steps.a", "neither run nor call", "one of run, call"),
    ("steps:\n  a: {metrics: m, run: 'x {metrics}', call: a:b}\n", 3, "steps.a", "both run and call", "one of"),
    ("steps:\n  a: {metrics: m, call: a.b}\n", 3, "steps.a.call", "not allowed here", "module:function"),
    ("steps:\n  a: {metrics: m, call: 'a:'}\n", 3, "steps.a.call", "not allowed here", "module:function"),
    ("steps:\n  a: {metrics: m, call: 'no.such:f'}\n", 3, "steps.a.call", "no such module: no.such", ""),
    ("steps:\n  a: {metrics: m, call: 'json:dupms'}\n", 3, "steps.a.call", "no function dupms in json", "dumps"),
    ("steps:\n  a: {metrics: m, run: 'python no.py {metrics}'}\n", 3, "steps.a.run", "no such script: no.py", ""),
    ("steps:\n  a: {metrics: m, run: 'x {metric}'}\n", 3, "steps.a.run", "{metric} names nothing", ""),
    ("steps:\n  a: {metrics: m, run: 'x {outputs.m}'}\n", 3, "steps.a.run", "{outputs.m} names nothing", ""),
    ("steps:\n  a: {metrics: m, run: \"x '{metrics}'\"}\n", 3, "steps.a.run", "inside single quotes", ""),
    ("steps:\n  a: {metrics: m, run: 'x {seed}', seeding: none}\n", 3, "steps.a.run", "seeding: none", "remove"),
    ("steps:\n  a:\n    metrics: m\n    run: |\n      x # y\n", 5, "steps.a.run", "a comment inside run", ""),
    ("steps:\n  a: {outputs: {o: o}, run: 'x {metrics}'}\n", 3, "steps.a.run", "{metrics} names nothing", "metrics.json"),
    (STEP + "    inputs: {i: x.csv}\n", 4, "steps.a.run", "the input i is not used", "{inputs.i}"),
    (STEP.replace("o.txt", "../o"), 5, "steps.a.outputs.o", "not a file name", "inside the step's own folder"),
    (STEP.replace("o.txt", "/o"), 5, "steps.a.outputs.o", "not a file name", "not absolute"),
    (STEP.replace("o.txt", "./o"), 5, "steps.a.outputs.o", "not a file name", "plain file name"),
    (STEP.replace("o.txt", "."), 5, "steps.a.outputs.o", "not a file name", "plain file name"),
    (STEP.replace("o.txt", "'{x}'"), 5, "steps.a.outputs.o", "not a file name", "without {"),
    (STEP.replace("o.txt", "'a\\nb'").replace("'", '"'), 5, "steps.a.outputs.o", "not a file name", "line breaks"),
    (STEP.replace("o.txt", "o" * 250), 5, "steps.a.outputs.o", "not a file name", "200 bytes"),
    (STEP.replace("o.txt}", "o.txt, p: o.txt}"), 5, "steps.a.outputs.p", "o and p write one file", "o.txt"),
    (STEP.replace("o.txt}", "o.txt, p: O.TXT}"), 5, "steps.a.outputs.p", "o and p write one file", "O.TXT"),
    (STEP.replace("o.txt}", "o/, p: o/x}"), 5, "steps.a.outputs.p", "one inside the other", "o/x"),
    (STEP.replace("o.txt}", "o.txt, metrics: x}"), 5, "steps.a.outputs.metrics", "is taken", "a.metrics"),
    (STEP + "    metrics: o.txt\n", 6, "steps.a.metrics", "o and metrics write one file", "o.txt"),
    (MANY.replace("metrics: m.json", "metrics: m, outputs: {table: t}"), 4, "steps.a.outputs.table", "is taken", "a.table"),
    (STEP + "  A: {run: 'x {metrics}', metrics: m}\n", 6, "steps.A", "one folder on macOS", "another name"),
    (STEP + "  b: {run: 'x {metrics} {inputs.i}', metrics: m, inputs: {i: a.p}}\n", 6, "steps.b.inputs.i", "a has no output p", "a.o"),
    (STEP + "  b: {run: 'x {metrics} {inputs.i}', metrics: m, inputs: {i: a}}\n", 6, "steps.b.inputs.i", "not one of its outputs", "a.o"),
    (STEP + "  b: {run: 'x {metrics} {inputs.i}', metrics: m, inputs: {i: a.metrics}}\n", 6, "steps.b.inputs.i", "no output metrics", "give a"),
    (STEP + "  b: {run: 'x {metrics} {inputs.i}', metrics: m, inputs: {i: a.table}}\n", 6, "steps.b.inputs.i", "no output table", "replicates"),
    (STEP + "  b: {run: 'x {metrics} {inputs.i}', metrics: m, inputs: {i: '{matrix.x}.csv'}}\n", 6, "steps.b.inputs.i", "names nothing", "no matrix"),
    (STEP + "  b: {run: 'x {metrics} {inputs.i}', metrics: m, inputs: {i: '{params.x}.csv'}}\n", 6, "steps.b.inputs.i", "only {matrix.NAME}", "params"),
    (MANY + "  b: {run: 'x {metrics} {inputs.i}', metrics: m, matrix: {size: [3]}, inputs: {i: a.metrics}}\n", 5, "steps.b.inputs.i", "a has no job for size=3", "matrix of a"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "key", "what", "more"), ONE)
def test_one_mistake_is_one_message(
    tmp_path: Path, text: str, line: int, key: str, what: str, more: str
) -> None:
    found = problem(tmp_path, text)
    assert found.where is not None
    shown = str(found)
    assert (found.where.line, found.key) == (line, key), shown
    assert what in found.what, shown
    assert more in shown, shown


CODE = "def fit(C, model, seed, *, depth=1):\n    pass\n\ndef loose(**rest):\n    pass\n"


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ("params: {C: 1}", "nothing gives the function's parameter model"),
        ("params: {C: 1, modle: 2}, outputs: {model: m}", "takes no parameter modle"),
        ("params: {C: 1}, outputs: {model: m, C: x}", "C could be more than one thing"),
        ("params: {C: 1, seed: 1}, outputs: {model: m}", "seed could be more than one thing"),
        ("params: {C: 1}, outputs: {model: m}, inputs: {x: y.csv}", "the input x is not used"),
        ("params: {C: 1}, outputs: {model: m}, seeding: none", "wants a seed"),
    ],
)
def test_what_a_function_takes(tmp_path: Path, keys: str, what: str) -> None:
    found = problem(
        tmp_path, f"steps:\n  a: {{call: 'code:fit', {keys}, metrics: e}}\n", code_py=CODE
    )
    assert what in found.what


def test_a_function_that_takes_everything(tmp_path: Path) -> None:
    text = "params: {y: 2}\nsteps:\n  a: {call: 'code:loose', params: {x: 1}, metrics: e}\n"
    made = plan(tmp_path, text, code_py=CODE)
    assert made.steps["a"].cases[0].params == {"y": 2, "x": 1}


def test_a_circle_of_several_steps(tmp_path: Path) -> None:
    text = "steps:\n"
    for name, needed in ("ab", "bc", "ca", "dd"):
        text += f"  {name}: {{run: 'x {{inputs.i}} {{metrics}}', inputs: {{i: {needed}.metrics}}, metrics: m}}\n"
    found = [entry.what for entry in problems(tmp_path, text)]
    assert found == ["a circle: a needs b needs c needs a", "a circle: d needs d"]


def test_a_long_chain_is_no_recursion(tmp_path: Path) -> None:
    text = "steps:\n  s0: {run: 'x {metrics}', metrics: m}\n"
    for index in range(1, 1500):
        text += f"  s{index}: {{run: 'x {{inputs.i}} {{metrics}}', metrics: m, inputs: {{i: s{index - 1}.metrics}}}}\n"
    assert len(plan(tmp_path, text).steps) == 1500


def test_a_faulty_step_makes_no_further_noise(tmp_path: Path) -> None:
    text = (
        STEP.replace("run:", "rnu:")
        + "  b: {run: 'x {metrics} {inputs.i}', metrics: m, inputs: {i: a.o}}\n"
    )
    assert "rnu" in str(problem(tmp_path, text))


def test_a_faulty_axis_makes_no_further_noise(tmp_path: Path) -> None:
    assert problem(tmp_path, MANY.replace("[1, 2]", "3")).key == "axes.size"


def test_everything_is_told_at_once(tmp_path: Path) -> None:
    text = (
        "name:\nsedd: 3\nseed: x\nenvironment: e\naxes: {s: []}\n"
        "steps:\n  a: {rnu: x}\n  b: {run: \"x '{params.q}' # y\", metrics: ../m, inputs: {i: c.x}}\n"
    )
    keys = [entry.key for entry in problems(tmp_path, text)]
    first = ["name", "sedd", "seed", "environment", "axes.s", "steps.a.rnu", "steps.b.metrics"]
    assert keys == [*first, *["steps.b.run"] * 4]


def test_replicates_have_to_match(tmp_path: Path) -> None:
    text = (
        "steps:\n  a: {run: 'x {metrics}', metrics: m, replicates: 2}\n"
        "  b: {run: 'x {metrics} {inputs.i}', metrics: m, replicates: 3, inputs: {i: a.metrics}}\n"
    )
    assert "a has no replicate 2" in problem(tmp_path, text).what


@pytest.mark.parametrize(
    "link", ["results", "results/a", "results/a/seed-0", "results/a/seed-0/sub"]
)
def test_no_output_through_a_link_that_leaves(tmp_path: Path, link: str) -> None:
    root, away = tmp_path / "project", tmp_path / "away"
    away.mkdir()
    (root / link).parent.mkdir(parents=True)
    text = "steps:\n  a: {run: 'x {outputs.o}', outputs: {o: sub/o}, replicates: 1}\n"
    os.symlink(away, root / link)
    found = problem(root, text)
    assert f"{link} -> {away}" in str(found.value)
    (root / link).unlink()
    (root / "other").mkdir()
    os.symlink(root / "other", root / link)
    plan(root, text)


def test_an_environment_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "envs" / "e").mkdir(parents=True)
    os.symlink("nowhere", tmp_path / "envs" / "e" / "lock.txt")
    assert "cannot be read" in problem(tmp_path, "environment: e\n").what


def test_a_parameter_from_outside_has_to_reach_a_step(tmp_path: Path) -> None:
    text = "params: {rate: 1}\n" + STEP.replace("touch", "x {params.rate}")
    plan(tmp_path, text, {"params": {"rate": 3}})
    found = problem(tmp_path, text, {"params": {"raet": 3}})
    assert "no step takes" in found.what
    assert found.hint == "did you mean rate?"


def test_names_that_are_words_elsewhere(tmp_path: Path) -> None:
    names = ["rule", "import", "table", "metrics", "index", "lambda", "None", "input", "output"]
    text = "steps:\n"
    for name in names:
        text += f"  {name}: {{run: 'x {{metrics}} {{outputs.{name}x}}', metrics: m, outputs: {{{name}x: o}}}}\n"
    assert list(plan(tmp_path, text).steps) == names
