"""`ml-experiment init`: a project that runs at once, made of this repository's own files.

Nothing that is there is changed, but for lines more in DVC's own .dvcignore: in a folder with a DVC
repository and no dvc.yaml the stages are written too. Beside an existing Snakefile ours is `experiment.smk`, and its
profile is not the default one, since that would change what a plain `snakemake` does there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ml_experiment.errors import UserError
from ml_experiment.services import dvc

SNAKEFILES = ("Snakefile", "snakefile", "workflow/Snakefile", "workflow/snakefile")
BESIDE = "experiment.smk"
PROFILE = "profiles/default"
PROFILE_BESIDE = "profiles/experiment"
PARTS = ("Snakefile", "experiment.yaml", "workflow", "envs", PROFILE, "schemas")
EMPTY = {
    "Snakefile": """\
# `snakemake --cores N` makes everything that experiment.yaml declares.
include: "workflow/rules/experiment.smk"


rule all:
    default_target: True
    input: experiment.targets
""",
    "experiment.yaml": """\
# yaml-language-server: $schema=schemas/experiment.schema.json
name: experiment
seed: 0

steps: {}
""",
}
IGNORE = ".gitignore"
IGNORED = (
    "/.snakemake/", "/.ml_experiment/", "/results*/*", "/logs*/", "/mlflow.db*", "/mlartifacts/",
    "/dvc_plots/", "__pycache__/", "/.venv/",
)  # fmt: skip


@dataclass(frozen=True)
class Made:
    """What `init` wrote.

    Attributes:
        files: relative to the folder, sorted.
        ignore: lines that an existing .gitignore lacks.
        beside: whether there was a Snakefile already.
    """

    folder: Path
    files: tuple[str, ...]
    ignore: tuple[str, ...]
    beside: bool


def template() -> Path:
    """The folder of the files that a new project begins with: in a wheel, or the repository."""
    package = Path(__file__).parent.parent
    packed = package / "template"
    return packed if packed.is_dir() else package.parent


def init(
    folder: Path, *, empty: bool = False, profiles: bool = False, dry_run: bool = False
) -> Made:
    """Make a project in a folder, which may hold anything else.

    `empty` is without the demonstration; `profiles` are only those for clusters, for a project that
    is there.

    Raises:
        UserError: a file that would be written is there already, or the folder cannot be written.
    """
    beside = any((folder / name).exists() for name in SNAKEFILES)
    texts = _profiles() if profiles else _texts(empty=empty)
    copies = texts if profiles else {_renamed(n, beside=beside): text for n, text in texts.items()}
    taken = [name for name in sorted(copies) if os.path.lexists(folder / name)]
    if taken:
        raise UserError(
            "files of the new project are here already: " + ", ".join(taken),
            where=str(folder),
            hint="remove them, or keep them as they are"
            if profiles
            else "`ml-experiment init FOLDER` makes the project in a folder of its own",
        )
    lacking = () if profiles else _lacking(folder / IGNORE)
    if not dry_run:
        try:
            _write(folder, copies, lacking)
        except OSError as error:
            raise UserError(f"cannot write here: {error}", where=str(folder)) from None
    kept = [] if profiles or dry_run else _stages(folder)
    return Made(folder, tuple(sorted([*copies, *kept])), lacking, beside)


def _stages(folder: Path) -> list[str]:
    """Where DVC is and has no pipeline yet: what it needs to keep what the project makes."""
    if not (folder / ".dvc").is_dir() or (folder / dvc.FILE).exists():
        return []
    return dvc.write(dvc.proposed(folder / "experiment.yaml"))


def _write(folder: Path, copies: dict[str, bytes], lacking: tuple[str, ...]) -> None:
    """All files or none."""
    written: list[Path] = []
    try:
        for name, text in sorted(copies.items()):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            written.append(target)
            target.write_bytes(text)
        if lacking and not (folder / IGNORE).exists():
            written.append(folder / IGNORE)
            (folder / IGNORE).write_text("\n".join(lacking) + "\n", "utf-8")
    except OSError:
        for path in written:
            path.unlink(missing_ok=True)
        raise


def _texts(*, empty: bool) -> dict[str, bytes]:
    """Name -> content of every file of a new project."""
    texts = {name: (template() / name).read_bytes() for name in _template_files()}
    if not empty:
        return texts
    kept = ("workflow/rules/experiment.smk", PROFILE, "schemas")
    general = {name: text for name, text in texts.items() if name.startswith(kept)}
    return {**general, **{name: text.encode() for name, text in EMPTY.items()}}


def _profiles() -> dict[str, bytes]:
    files = sorted((template() / "profiles").glob("*/config.yaml"))
    names = {file.relative_to(template()).as_posix(): file for file in files}
    return {name: f.read_bytes() for name, f in names.items() if not name.startswith(PROFILE)}


def _template_files() -> list[str]:
    root = template()
    found = []
    for part in PARTS:
        path = root / part
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        found += [
            file.relative_to(root).as_posix()
            for file in files
            if file.is_file() and "__pycache__" not in file.parts
        ]
    return found


def _renamed(name: str, *, beside: bool) -> str:
    if not beside:
        return name
    return BESIDE if name == "Snakefile" else name.replace(PROFILE, PROFILE_BESIDE)


def _lacking(ignore: Path) -> tuple[str, ...]:
    """The lines that the .gitignore should have and has not."""
    try:
        present = {line.strip() for line in ignore.read_text("utf-8").splitlines()}
    except OSError:
        present = set()
    return tuple(line for line in IGNORED if line not in present)
