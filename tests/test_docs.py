"""The documentation says what the software does.

Conventions for README.md and docs/*.md:
- A block whose first line is `# NAME.EXT` (or `# Snakefile`) is that file, put into the folder in
  which the page's commands run.
- A ```console block is run, all of a page in one folder and in order. Its output is compared;
  `...` in a line stands for any text, and alone in a line for any lines.
- A ```yaml block is an experiment, or a part of one, and has no mistakes.
- In ```sh blocks and in `code`, commands of ours and of Snakemake's have only words that exist.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ml_experiment import config, environments, model, resolve, seeds, workspace, yamlio
from ml_experiment.cli import main as cli
from ml_experiment.environments import Lock
from tests import docker_engine, wheels

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")))
FILE = re.compile(r"# ([\w./-]+\.\w+|Snakefile)\n")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    kind: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that it is, if it is one."""
        found = FILE.match(self.text)
        return found[1] if found else None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def prose_and_blocks(page: str) -> tuple[str, list[Block]]:
    """A page's text without its fenced blocks, and the blocks."""
    prose: list[str] = []
    blocks: list[Block] = []
    inside: list[str] | None = None
    start, kind = 0, ""
    for number, line in enumerate((ROOT / page).read_text("utf-8").splitlines(), 1):
        if line.startswith("```"):
            if inside is None:
                start, kind, inside = number, line[3:], []
            else:
                blocks.append(Block(page, start, kind, "".join(f"{row}\n" for row in inside)))
                inside = None
        elif inside is None:
            prose.append(line)
        else:
            inside.append(line)
    assert inside is None, f"{page}:{start}: a block that does not end"
    return "\n".join(prose), blocks


def all_blocks(*kinds: str) -> list[Block]:
    return [block for page in PAGES for block in prose_and_blocks(page)[1] if block.kind in kinds]


# ---- transcripts ---------------------------------------------------------------------------------


def commands(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Each command of a transcript with the output that it should have."""
    found: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            assert found, f"{block}: a transcript begins with a command"
            found[-1][1].append(line)
    yield from found


def agrees(expected: list[str], output: str) -> bool:
    """Whether an output is the one of the page."""
    lines = [
        r"(?:.*\n)*" if line == "..." else ".*".join(map(re.escape, line.split("..."))) + r"\n"
        for line in expected
    ]
    return re.fullmatch("".join(lines), output) is not None


class Shell:
    """Runs commands one after the other, as a person types them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("ML_EXPERIMENT_", "SNAKEMAKE_", "PYTEST_", "COV_"))
        }
        self.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environ["COLUMNS"] = "200"
        self.environ["PYTHONUNBUFFERED"] = "1"  # output and errors in order, as on a terminal

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def run(self, command: str) -> str:
        if command.startswith("cd "):
            self.folder = self.folder / command[3:]
            return ""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.stdout


TRANSCRIPTS = sorted({block.page for block in all_blocks("console")})


@pytest.mark.parametrize("page", TRANSCRIPTS)
def test_transcript(page: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    shell = Shell(tmp_path)
    if page == "docs/environments.md":
        shell.environ |= engine(request.getfixturevalue("docker"), tmp_path / "index")
    for block in prose_and_blocks(page)[1]:
        if block.file:
            shell.write(block.file, block.text)
        if block.kind != "console":
            continue
        for command, expected in commands(block):
            output = shell.run(command)
            assert agrees(expected, output), f"{block}: $ {command}\n{output}"
    if page == "README.md":
        check_report(tmp_path / "paper")


def engine(environ: Mapping[str, str], index: Path) -> dict[str, str]:
    """An engine with an image that stands for the official one of Python, and an index of packages."""
    words = [
        "docker",
        "--host",
        environ["DOCKER_HOST"],
        "tag",
        docker_engine.BASE,
        "python:3.11-slim",
    ]
    subprocess.run(words, check=True)
    return {**environ, **wheels.settings(wheels.folder(index, tabulate="0.9.0"))}


def check_report(project: Path) -> None:
    """The boot report that docs/reproducibility.md shows is the real one, machine aside."""
    (line,) = (project / ".ml_experiment/boot/train.jsonl").read_text("utf-8").splitlines()
    real = json.loads(line)
    _, blocks = prose_and_blocks("docs/reproducibility.md")
    (shown,) = (json.loads(block.text) for block in blocks if block.kind == "json")
    assert sorted(shown) == sorted(real)
    for key in ("argv", "exit", "generators", "project", "seed", "seeding", "stream"):
        assert shown[key] == real[key]


# ---- experiments ---------------------------------------------------------------------------------


def stub(data: Mapping[str, Any], folder: Path) -> None:
    """The files that an experiment of the documentation names."""
    for step in data.get("steps", {}).values():
        cases = [case for values in step.get("cases", {}).values() for case in values.values()]
        for work in (step, *cases):
            for script in re.findall(r"[\w./-]+\.(?:py|sh|R)\b", work.get("run", "")):
                (folder / script).parent.mkdir(parents=True, exist_ok=True)
                variables = [
                    f"ML_EXPERIMENT_INPUTS_{name.upper()}" for name in step.get("inputs", {})
                ]
                (folder / script).write_text("# " + " ".join(variables) + "\n", "utf-8")
            if "call" in work:
                module, _, function = work["call"].partition(":")
                path = folder / (module.replace(".", "/") + ".py")
                path.parent.mkdir(parents=True, exist_ok=True)
                text = path.read_text("utf-8") if path.exists() else ""
                path.write_text(f"{text}def {function}(inputs=None, **kwargs): ...\n", "utf-8")
            if work.get("environment"):
                (folder / "envs" / work["environment"]).mkdir(parents=True, exist_ok=True)
    if data.get("runtime") == "docker":
        for name in {data["environment"]}:
            (folder / "envs" / name).mkdir(parents=True)
            (folder / "envs" / name / "image.yaml").write_text("image: any\n", "utf-8")
            sources = environments.declared(folder, name).sources()
            environments.write(folder, name, Lock({}, "linux/amd64", sources, "sha256:0"))
    if data.get("environment"):
        (folder / "envs" / data["environment"]).mkdir(parents=True, exist_ok=True)


@pytest.mark.parametrize("block", all_blocks("yaml"), ids=str)
def test_experiment(block: Block, tmp_path: Path) -> None:
    data = yamlio.read(block.text, str(block)).plain()
    text = block.text
    if block.file and block.file.endswith(environments.SETTINGS):
        return  # of an environment
    if "name" not in data:  # a part of one
        text = f"name: part\n{text}"
    for base in prose_and_blocks(block.page)[1]:
        if base.file and base.file == data.get("extends"):
            stub(yamlio.read(base.text, str(base)).plain(), tmp_path)
            (tmp_path / base.file).write_text(base.text, "utf-8")
            text = block.text
    stub(data, tmp_path)
    file = tmp_path / "experiment.yaml"
    file.write_text(text, "utf-8")
    for variant in (None, *data.get("variants", ())):
        made = resolve.resolve(config.load(file, {"variant": variant} if variant else {}))
        assert list(made.all_jobs())
        assert made.experiment.steps


@pytest.mark.parametrize(
    "kind",
    [
        model.Bounds,
        model.Data,
        model.Experiment,
        model.Import,
        model.Matrix,
        model.Registered,
        model.Replicates,
        model.Step,
        model.Stop,
        model.Study,
    ],
    ids=lambda k: k.__name__,
)
def test_every_key_is_documented(kind: type[Any]) -> None:
    """Work and Tuning are the parts of Step and Study that cases may have."""
    assert set(model.Work.model_fields) < set(model.Step.model_fields)
    assert set(model.Tuning.model_fields) < set(model.Study.model_fields)
    pages = [prose_and_blocks(f"docs/{page}.md") for page in ("experiment", "studies")]
    prose = "".join(prose for prose, _ in pages)
    documented = set(re.findall(r"`\{?(\w+):?[^`\n]*`", prose)) | set(
        re.findall(r"\b(\w+):", prose)
    )
    shown = "".join(block.text for _, blocks in pages for block in blocks if block.kind == "yaml")
    for name, info in kind.model_fields.items():
        field = info.alias or name
        assert field in documented, f"the documentation does not explain `{field}`"
        assert re.search(rf"\b{field}:", shown), f"the documentation has no example of {field}"


def test_every_placeholder_is_documented() -> None:
    from ml_experiment.placeholders import GROUPS, SINGLES

    prose, _ = prose_and_blocks("docs/experiment.md")
    for name in (*(f"{group}." for group in GROUPS), *(f"{single}}}" for single in SINGLES)):
        assert f"`{{{name}" in prose


def test_seeds_of_the_documentation() -> None:
    """The worked example of the seeds' formula."""
    prose, _ = prose_and_blocks("docs/experiment.md")
    examples = re.findall(r"`\[(\d+),\"(\w+)\",(\d+),\"([\w.]+)\"\]` gives (\d+)", prose)
    assert examples
    for root, stream, replicate, generator, seed in examples:
        assert seeds.derive(int(root), stream, int(replicate), generator) == int(seed)


# ---- commands ------------------------------------------------------------------------------------


def spoken(program: str) -> list[tuple[str, list[str]]]:
    """Every command of a program in the documentation, as words."""
    found = []
    for page in PAGES:
        prose, blocks = prose_and_blocks(page)
        texts = re.findall(r"`([^`\n]+)`", prose)
        for block in blocks:
            if block.kind in ("sh", "console"):
                lines = block.text.splitlines()
                texts += [
                    line.removeprefix("$ ")
                    for line in lines
                    if block.kind == "sh" or line[:2] == "$ "
                ]
        for text in texts:
            for part in re.split(r"&&|\|(?!\|)|;", text.partition("  #")[0]):
                words = shlex.split(part) if part.strip().startswith(f"{program} ") else []
                if words:
                    found.append((f"{page}: {part.strip()}", words[1:]))
    return found


@pytest.mark.parametrize(
    ("where", "words"), spoken("ml-experiment"), ids=lambda v: v if isinstance(v, str) else ""
)
def test_our_commands_parse(where: str, words: list[str]) -> None:
    words = [word.removeprefix("[").removesuffix("]") for word in words if word != "…"]
    ours, _ = cli._split(words)
    if ours == ["add"]:
        ours.append("train.py")
    trouble = io.StringIO()
    code: object = 0
    try:
        with contextlib.redirect_stderr(trouble), contextlib.redirect_stdout(io.StringIO()):
            cli.parser().parse_args(ours)
    except SystemExit as stop:  # --help and --version end with 0
        code = stop.code
    assert code == 0, f"{where}: {trouble.getvalue()}"


def test_snakemake_commands_have_flags_that_exist() -> None:
    from snakemake.cli import get_argument_parser

    known = {
        option for action in get_argument_parser()._actions for option in action.option_strings
    }
    for where, words in spoken("snakemake"):
        for word in words:
            if word.startswith("-") and word != "--":
                assert word.partition("=")[0] in known, f"{where}: there is no {word}"


# ---- links, modules, words -----------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", head.lower()) for head in heads)
    return {head.replace(" ", "-") for head in plain}


@pytest.mark.parametrize("page", PAGES)
def test_links(page: str) -> None:
    prose, _ = prose_and_blocks(page)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        path, _, anchor = target.partition("#")
        if re.match(r"\w+:", path):
            continue
        goal = (ROOT / page).parent / path if path else ROOT / page
        assert goal.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(goal), f"{page}: {target}"


def test_architecture_names_every_module() -> None:
    """In its tables, with a line about each; and nothing that is not there."""
    prose, _ = prose_and_blocks("docs/architecture.md")
    rows = dict(re.findall(r"^\| `([\w./]+)` \| (.+) \|$", prose, re.MULTILINE))
    package = ROOT / "ml_experiment"
    there = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*")
        if path.suffix in {".py", ".sh"} or path.name == "Rprofile"
        if path.name != "__init__.py" and "__pycache__" not in path.parts
        if "template" not in path.relative_to(package).parts
    }
    assert set(rows) == there
    assert all(len(text) > 10 for text in rows.values())


def test_what_copied_files_may_rely_on_is_there_and_is_all_that_they_use() -> None:
    from ml_experiment.adapters import snakemake

    text = (ROOT / "docs/snakemake.md").read_text("utf-8")
    table = text.partition("## What a copied file may rely on")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+) \| (.+) \|$", table, re.MULTILINE)
    plan = workspace.open_plan(ROOT / "experiment.yaml")
    experiment = snakemake.Experiment(plan)
    kept = {"experiment": re.findall(r"`\.(\w+)", " ".join(name for name, _ in rows))}
    assert [name for name in kept["experiment"] if not hasattr(experiment, name)] == []
    for kind in ("rules", "tables", "trials", "histories"):
        (listed,) = (meaning for name, meaning in rows if name == f"`.{kind}`")
        loop = {"rules": "step", "tables": "table", "trials": "trial", "histories": "history"}[kind]
        kept[f"_{loop}"] = names = re.findall(r"`(\w+)`", listed)
        assert [name for name in names if not hasattr(getattr(experiment, kind)[0], name)] == []
    for file in ("experiment.smk", "paper.smk"):
        rules = re.sub("#.*", "", (ROOT / "workflow/rules" / file).read_text("utf-8"))
        for thing, name in re.findall(r"\b(experiment|_step|_table|_trial|_history)\.(\w+)", rules):
            assert name in kept[thing], f"{file} uses {thing}.{name}"


@pytest.mark.parametrize("page", PAGES)
def test_nothing_of_one_machine(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    found = re.findall(r"(?<![\w.~])/(?:home|root|tmp|work|Users|opt|mnt)/\S*", text)
    assert not found, f"{page} names a folder of one machine: {found}"


@pytest.mark.parametrize("image", sorted(path.name for path in (ROOT / "docs/images").iterdir()))
def test_images_are_small_and_used(image: str) -> None:
    assert (ROOT / "docs/images" / image).stat().st_size < 300_000
    assert any(f"images/{image}" in (ROOT / page).read_text("utf-8") for page in PAGES)
