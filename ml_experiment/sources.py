"""The user's code, read but never run: what a step's command consists of.

A step's code is its script or its function's module, and those of the project's own modules that
it imports, directly or not. They are found by reading import statements; what is imported in
another way (importlib, exec) is not seen here, and the boot report names it after the run.
"""

from __future__ import annotations

import ast
import importlib.machinery
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ml_experiment import hashing
from ml_experiment.errors import did_you_mean
from ml_experiment.placeholders import Template

INTERPRETERS = re.compile(r"^(python[\d.]*|Rscript|bash|sh|julia|node|perl|ruby)$")
MAX_BYTES = 1 << 20  # a literal path to more than this is data, not code
_MADE = re.compile(r"(results|logs)(-[^/]*)?/|\.")
_MODULE = re.compile(r"(?:-[A-Za-z]{0,9}m|--module)|-m([A-Za-z_][\w.]*)")
_VARIABLE = re.compile(r"\bML_EXPERIMENT_[A-Z0-9_]+")


@dataclass(frozen=True)
class Signature:
    """What a Python function takes.

    Attributes:
        names: all parameters that can be given by name or position, in order.
        required: those without a default.
        rest: whether it has `**kwargs`.
    """

    names: tuple[str, ...]
    required: frozenset[str]
    rest: bool


@dataclass(frozen=True)
class Code:
    """The code of a command.

    Attributes:
        files: path relative to the workspace -> MD5, sorted by path.
        variables: the ML_EXPERIMENT_ variables that the command or its files mention.
        signature: of a called function; None where it is not known without running code.
        problems: (what, hint) of what is missing.
    """

    files: Mapping[str, str]
    variables: frozenset[str]
    signature: Signature | None = None
    problems: tuple[tuple[str, str | None], ...] = ()


def of_run(template: Template, folder: Path) -> Code:
    """The code of a shell command: the files of the workspace that it names, and their imports."""
    words = template.words
    problems: list[tuple[str, str | None]] = []
    files: set[Path] = set()
    places = [folder]  # where the command is, and to where it goes by `cd`
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word in ("cd", "pushd") and (place := _inner(places[-1] / following, folder)):
            places.append(place)
        if INTERPRETERS.match(word.rpartition("/")[2]) and all(
            _missing_script(following, place) for place in places
        ):
            problems.append((f"no such script: {following}", _nearest_file(following, places[-1])))
        if module := _MODULE.fullmatch(word):  # of python, torchrun, and other launchers
            files.update(_run_as_module(module[1] or following, places, folder))
        for name in {word, word.partition("=")[2]}:
            files.update(path for place in places if (path := _literal(name, place, folder)))
    text = "".join(part for part in template.parts if isinstance(part, str))
    return _code(files, folder, text, None, problems)


def of_files(paths: Iterable[str], folder: Path) -> Code:
    """The code of a hand-written rule: files that it names itself, and their imports."""
    problems: list[tuple[str, str | None]] = []
    files: set[Path] = set()
    for name in paths:
        path = folder / name
        if path.is_file():
            files.add(path)
        else:
            problems.append((f"no such script: {name}", _nearest_file(name, folder)))
    return _code(files, folder, "", None, problems)


def of_call(target: str, folder: Path) -> Code:
    """The code of `module:function`: the module, its imports, the function's signature."""
    module, _, function = target.partition(":")
    found = _module(module, (folder, folder / "src"), folder)
    if found and module.rpartition(".")[2] not in (found[-1].stem, found[-1].parent.name):
        found = []  # only a module above it: m.py has no m.n
    path = found[-1] if found else _installed(module)
    if path is None:
        hint = _nearest_file(module.replace(".", "/") + ".py", folder)
        return Code({}, frozenset(), None, ((f"no such module: {module}", hint),))
    signature, names = _find_function(path, function)
    problems: list[tuple[str, str | None]] = []
    if names is not None and function.partition(".")[0] not in names:
        problems.append((f"no function {function} in {module}", did_you_mean(function, names)))
    return _code(set(found), folder, "", signature, problems)


def _code(
    files: set[Path],
    folder: Path,
    text: str,
    signature: Signature | None,
    problems: list[tuple[str, str | None]],
) -> Code:
    everything = _with_imports(files, folder)
    digests = {}
    variables = set(_VARIABLE.findall(text))
    for path in everything:
        try:
            digest, mentioned = _read(path, _stamp(path))
        except OSError as error:
            problems.append((f"cannot be read: {path.relative_to(folder)}", error.strerror))
            continue
        digests[path.relative_to(folder).as_posix()] = digest
        variables |= mentioned
    return Code(dict(sorted(digests.items())), frozenset(variables), signature, tuple(problems))


def _with_imports(files: set[Path], folder: Path) -> set[Path]:
    """Files and what they import, directly or not.

    Python looks for modules beside the program, whoever imports them. Where another of that name is
    elsewhere both are taken: that is a run too many at the most.
    """
    programs = sorted({path.parent for path in files if path.suffix == ".py"})
    seen: set[Path] = set()
    waiting = sorted(files)
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        if path.suffix == ".py":
            roots = dict.fromkeys((path.parent, *programs, folder, folder / "src"))
            for module in _imports(path, _stamp(path), folder):
                for root in roots:
                    waiting.extend(_module(module, (root,), folder))
    return seen


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


@cache
def _read(path: Path, _: tuple[int, int]) -> tuple[str, frozenset[str]]:
    text = path.read_text("utf-8", "replace")
    return hashing.of_file(path), frozenset(_VARIABLE.findall(text))


@cache
def _imports(path: Path, _: tuple[int, int], folder: Path) -> tuple[str, ...]:
    """The modules that a file imports, with all their parents' names in absolute form."""
    tree = _tree(path)
    package = list(path.relative_to(folder).parts[:-1])
    found: list[str] = []
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Import):
            found.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found.append(base)
            found.extend(f"{base}.{alias.name}" if base else alias.name for alias in node.names)
    return tuple(name for name in dict.fromkeys(found) if name)


def _tree(path: Path) -> ast.Module | None:
    try:
        with warnings.catch_warnings(action="ignore"):  # the code's own, such as invalid escapes
            return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # for another Python than this one, perhaps: that will say so


def _module(name: str, roots: tuple[Path, ...], folder: Path) -> list[Path]:
    """The files of a module of the project: its packages' __init__, then itself; or nothing."""
    parts = name.split(".")
    for root in roots:
        files = []
        for end in range(1, len(parts) + 1):
            base = root.joinpath(*parts[:end])
            if (base / "__init__.py").is_file():
                files.append(base / "__init__.py")
            elif base.with_suffix(".py").is_file():
                files.append(base.with_suffix(".py"))
                break
            elif not base.is_dir():
                break
        inside = [file for file in files if file.is_relative_to(folder)]
        if inside and "site-packages" not in inside[-1].parts:
            return inside
    return []


def _run_as_module(name: str, places: list[Path], folder: Path) -> Iterator[Path]:
    """The files of a module that is run by its name; of a package what runs it."""
    for root in (*places, folder / "src"):
        yield from _module(name, (root,), folder)
        program = root.joinpath(*name.split("."), "__main__.py")
        if program.is_file() and program.is_relative_to(folder):
            yield program


def _inner(path: Path, folder: Path) -> Path | None:
    """A folder of the workspace."""
    place = Path(os.path.normpath(path))
    return place if place.is_relative_to(folder) and place.is_dir() else None


def _installed(module: str) -> Path | None:
    """The file of a module that is installed beside us, found without importing a package."""
    top, *below = module.split(".")
    # Finders of editable installs are on this list too.
    specs = (finder.find_spec(top, None) for finder in sys.meta_path)
    spec = next((spec for spec in specs if spec is not None), None)
    for part in below:
        # By its last name: the full one of a part of a namespace needs the whole imported.
        folders = list(spec.submodule_search_locations or []) if spec else []
        spec = importlib.machinery.PathFinder.find_spec(part, folders)
    if spec is None:
        return None
    return Path(spec.origin) if spec.origin else Path(os.devnull)


def _find_function(path: Path, function: str) -> tuple[Signature | None, frozenset[str] | None]:
    """A function's signature, and every name that its module binds; None if that is unknown."""
    tree = _tree(path) if path.suffix == ".py" else None
    if tree is None:
        return None, None
    names: set[str] = set()
    signature = None
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
            if node.name == function and isinstance(node, ast.FunctionDef):
                signature = None if node.decorator_list else _signature(node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        else:
            names |= _bound(node)
    if "*" in names or "__getattr__" in names:  # anything may be there
        return signature, None
    return signature, frozenset(names)


def _bound(node: ast.stmt) -> set[str]:
    """Names that a statement such as `if` or `try` binds."""
    found: set[str] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            found.add(inner.id)
        elif isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(inner.name)
        elif isinstance(inner, ast.alias):
            found.add((inner.asname or inner.name).partition(".")[0])
    return found


def _signature(node: ast.FunctionDef) -> Signature:
    arguments = node.args
    positional = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    required = positional[: len(positional) - len(arguments.defaults)]
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        positional.append(argument.arg)
        if default is None:
            required.append(argument.arg)
    return Signature(tuple(positional), frozenset(required), arguments.kwarg is not None)


def _literal(name: str, place: Path, folder: Path) -> Path | None:
    """A word of a command as a file of the workspace, seen from a place in it."""
    if not name or "\0" in name:
        return None
    path = Path(os.path.normpath(place / name))
    if not os.path.isfile(path) or not path.is_relative_to(folder):
        return None
    if _MADE.match(path.relative_to(folder).as_posix()):  # what a job made is an input, never code
        return None
    return path if path.stat().st_size <= MAX_BYTES else None


def _missing_script(word: str, folder: Path) -> bool:
    """Whether the word behind an interpreter is a script that is not there."""
    if not word or word.startswith(("-", "$", "<", "|", ";", "&")) or "\0" in word:
        return False
    return "." in word and not os.path.exists(folder / word)


def _nearest_file(name: str, folder: Path) -> str | None:
    parent = (folder / name).parent
    if not os.path.isdir(parent):
        return f"the folder {os.path.relpath(parent, folder)} is not there"
    here = [file.name for file in parent.iterdir() if file.suffix == Path(name).suffix]
    return did_you_mean(Path(name).name, here)
