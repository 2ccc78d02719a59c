"""Files, bases, variants and overrides: what wins, what is removed, what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_experiment import config, workspace, yamlio
from ml_experiment.errors import MLExperimentError, Place, UserError
from tests.experiments import plan, problem, problems, write

ROOT = Path(__file__).parent.parent
BASE = (
    "params: {rate: 1}\n"
    "steps:\n"
    "  fit: {run: 'x {metrics} {params.C}', metrics: m.json, params: {C: 1, D: 2}, replicates: 3}\n"
    "  final: {like: fit, params: {D: null}}\n"
    "variants:\n"
    "  smoke: {steps.fit.replicates: 2, steps.final.params.C: 9}\n"
    "  single: {steps.final.replicates: null}\n"
)

WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3)
SCALARS = st.none() | st.booleans() | st.integers() | WORDS
NAMES = st.sampled_from(["a", "b", "c"])
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3)
)


def node(data: Any) -> yamlio.Node:
    return yamlio.of_data(data, Place("x"))


def naive_merge(base: Any, over: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    merged = {**base}
    for key, value in over.items():
        if key in base and value is None:
            del merged[key]
        else:
            merged[key] = naive_merge(base[key], value) if key in base else value
    return merged


def as_lists(value: Any) -> Any:
    if isinstance(value, tuple):
        return [as_lists(item) for item in value]
    return {k: as_lists(v) for k, v in value.items()} if isinstance(value, dict) else value


@settings(max_examples=50)
@given(st.dictionaries(NAMES, TREES, max_size=3), st.dictionaries(NAMES, TREES, max_size=3))
def test_merge(base: dict[str, Any], over: dict[str, Any]) -> None:
    merged = config._pruned(config.merge(node(base), node(over)))
    assert as_lists(merged.plain()) == naive_merge(base, over)


def test_like_takes_keys_and_null_removes_them(tmp_path: Path) -> None:
    final = plan(tmp_path, BASE).steps["final"].step
    assert (final.params, final.replicates) == ({"C": 1}, 3)


def test_a_variant_reaches_steps_that_are_like_another(tmp_path: Path) -> None:
    steps = plan(tmp_path, BASE, {"variant": "smoke"}).steps
    assert steps["final"].step.replicates == steps["fit"].step.replicates == 2
    assert (steps["final"].step.params["C"], steps["fit"].step.params["C"]) == (9, 1)


def test_a_variant_removes_what_is_inherited(tmp_path: Path) -> None:
    steps = plan(tmp_path, BASE, {"variant": "single"}).steps
    assert steps["final"].step.replicates is None
    assert steps["fit"].step.replicates == 3


def test_overrides_win(tmp_path: Path) -> None:
    given_ = {"variant": "smoke", "steps": {"fit": {"replicates": 4}}, "seed": 9}
    made = plan(tmp_path, BASE, given_)
    assert made.steps["fit"].step.replicates == 4
    assert made.experiment.seed == 9
    assert made.overridden
    assert made.results == "results-smoke"


def test_extends(tmp_path: Path) -> None:
    write(tmp_path, BASE)
    other = tmp_path / "other.yaml"
    other.write_text(
        "extends: experiment.yaml\nsteps: {final: {replicates: null}, fit: {params: {C: 5}}}\n"
    )
    made = workspace.open_plan(other)
    assert made.results == "results-other"
    assert made.steps["final"].step.replicates is None
    assert made.steps["final"].step.params == {"C": 5}
    other.write_text("extends: experiment.yaml\nsteps: {fit: {threads: 0}}\n")
    with pytest.raises(MLExperimentError, match=r"other.yaml:2: steps.fit.threads"):
        workspace.open_plan(other)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("extends: no.yaml\n", r"experiment.yaml:1: no such experiment file\n.*no.yaml"),
        ("extends: experiment.yaml\n", "leads back to the same file"),
        ("extends: .\n", "cannot be read: Is a directory"),
        ("extends: [a]\nname: x\n", "experiment.yaml:1: extends: not allowed here"),
    ],
)
def test_extends_that_leads_nowhere(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(MLExperimentError, match=match):
        plan(tmp_path, text)


def test_extends_is_for_files(tmp_path: Path) -> None:
    assert problem(tmp_path, BASE, {"extends": "x"}).key == "extends"


def test_unknown_variant(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean smoke") as caught:
        plan(tmp_path, BASE, {"variant": "smok"})
    assert "smoke, single" in str(caught.value)
    with pytest.raises(UserError, match="declares no variants"):
        plan(tmp_path, "steps: {}\n", {"variant": "smoke"})


@pytest.mark.parametrize(
    ("key", "what", "more"),
    [
        ("steps.fti.replicates: 2", "fti is not there to be changed", "did you mean fit?"),
        ("steps.fit.parms.C: 2", "parms is not there to be changed", "did you mean params?"),
        ("steps.fit.name.C: 2", "name is not there to be changed", ""),
        ("steps.fit.replicate: 2", "unknown key (in the variant v)", "did you mean replicates?"),
        ("steps.fit.replicates: two", "wrong type (in the variant v)", "from 1"),
        ("steps..fit: 2", "is not there", ""),
        ("name.x: 2", "x is not there to be changed", "name has no keys"),
    ],
)
@pytest.mark.parametrize("chosen", [True, False])
def test_variants_are_checked(tmp_path: Path, key: str, what: str, more: str, chosen: bool) -> None:
    overrides = {"variant": "v"} if chosen else None
    found = problem(tmp_path, BASE + f"  v:\n    {key}\n", overrides)
    assert what.removesuffix(" (in the variant v)" if chosen else "") in found.what
    assert more in str(found)
    assert found.where is not None
    assert found.where.line == 10


def test_a_variant_may_add(tmp_path: Path) -> None:
    text = BASE + "  v: {steps.fit.threads: 2, steps.new: {run: 'x {metrics}', metrics: m}}\n"
    assert plan(tmp_path, text, {"variant": "v"}).steps["new"].cases[0].work.threads == 1


def test_unknown_override(tmp_path: Path) -> None:
    found = problem(tmp_path, BASE, {"sede": 3})
    assert str(found.where) == "the command line (--config or --set)"
    assert found.hint == "did you mean seed?"


@pytest.mark.parametrize("value", ["3", 3.0, True, [3], {"a": 3}, -1, None])
def test_overrides_are_checked_like_the_file(tmp_path: Path, value: Any) -> None:
    if value is None:  # null removes: the default is back
        assert plan(tmp_path, "seed: 4\n" + BASE, {"seed": None}).experiment.seed == 0
    else:
        assert problem(tmp_path, BASE, {"seed": value}).key == "seed"


def test_set(tmp_path: Path) -> None:
    words = [
        "steps.fit.params.C=1e3",
        "steps.fit.params.D=no",
        "seed=7",
        "variant=",
        "params.rate=[1, a]",
    ]
    assert config.set_config(words) == {
        "steps": {"fit": {"params": {"C": 1000.0, "D": "no"}}},
        "seed": 7,
        "variant": "",
        "params": {"rate": (1, "a")},
    }
    for wrong in (
        ["a"],
        ["=3"],
        ["a..b=3"],
        ["a=1", "a.b=2"],
        ["a.b=2", "a=1"],
        ["a={"],
        ["a=!x 1"],
    ):
        with pytest.raises(MLExperimentError):
            config.set_config(wrong)


def test_find(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no experiment file here"):
        config.find(tmp_path)
    (tmp_path / "experiment.json").write_text("{}")
    assert config.find(tmp_path).name == "experiment.json"


def test_circles_of_like(tmp_path: Path) -> None:
    found = problems(tmp_path, "steps: {a: {like: b}, b: {like: c}, c: {like: a}}\n")
    assert "a circle of `like`: a -> b -> c -> a" in [entry.what for entry in found]
    chain = "".join(f"  s{i}: {{like: s{i + 1}}}\n" for i in range(2000))
    text = f"steps:\n{chain}  s2000: {{run: 'x {{metrics}}', metrics: m}}\n"
    assert "too long a chain" in str(problems(tmp_path, text))


# ---- anything at all either plans or says what is wrong -------------------------------------

KEYS = st.sampled_from(
    [
        "name",
        "seed",
        "steps",
        "axes",
        "params",
        "variants",
        "environment",
        "extends",
        "a",
        "b",
        "fit",
        "run",
        "call",
        "inputs",
        "outputs",
        "metrics",
        "matrix",
        "cases",
        "replicates",
        "seeds",
        "threads",
        "like",
        "include",
        "exclude",
        "x",
        "1",
        "timeout",
        "gpus",
        "env",
        "checkpoints",
        "seed_as",
        "seeding",
        "retries",
        "mem_mb",
    ]
) | st.text(max_size=3)
LEAVES = (
    SCALARS
    | st.floats()
    | st.sampled_from(
        ["a", "b", "a.o", "x {params.a} '{seed}'", "code:f", "../x", "{matrix.x}", "full"]
    )
)
WILD = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)
SLOW = settings(suppress_health_check=list(HealthCheck), max_examples=60)


def plans_or_refuses(file: Path, overrides: dict[str, Any] | None = None) -> None:
    try:
        workspace.key_texts(workspace.open_plan(file, overrides))
    except MLExperimentError as error:
        said = str(error)
    else:
        said = ""
    assert not any(word in said for word in ("pydantic", "Traceback"))


@SLOW
@given(data=st.dictionaries(KEYS, WILD, max_size=6), json_=st.booleans())
def test_any_tree(tmp_path: Path, data: dict[str, Any], json_: bool) -> None:
    file = tmp_path / ("experiment.json" if json_ else "experiment.yaml")
    file.write_text(json.dumps(data))
    plans_or_refuses(file)
    plans_or_refuses(write(tmp_path, BASE), data)


@SLOW
@given(data=st.data())
def test_any_change_to_a_real_experiment(tmp_path: Path, data: st.DataObject) -> None:
    text = (ROOT / "experiment.yaml").read_text()
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        piece = data.draw(
            st.sampled_from(
                ["", ":", "- ", "{", "}", "null", "[", "&a ", "*a", "\t", "'", "\n", "\n  "]
            )
            | st.text(max_size=3)
        )
        text = text[:start] + piece + text[end:]
    file = tmp_path / "experiment.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    plans_or_refuses(file, data.draw(st.sampled_from([None, {"variant": "smoke"}])))


@SLOW
@given(data=st.data())
def test_any_change_to_the_values_of_a_real_experiment(tmp_path: Path, data: st.DataObject) -> None:
    tree = as_lists(yamlio.read((ROOT / "experiment.yaml").read_text(), "x").plain())
    for _ in range(data.draw(st.integers(1, 3))):
        inner = tree
        for _ in range(data.draw(st.integers(0, 4))):
            key = data.draw(st.sampled_from(sorted(inner)))
            if not isinstance(inner[key], dict) or not inner[key]:
                break
            inner = inner[key]
        inner[data.draw(st.sampled_from(sorted(inner)) | KEYS)] = data.draw(WILD)
        tree = tree or {"name": "x"}
    file = tmp_path / "experiment.json"
    file.write_text(json.dumps(tree))
    plans_or_refuses(file)
