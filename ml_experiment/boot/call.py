"""Runs a Python function as a step: `python call.py module:function '<JSON>'`.

The JSON object has `inputs`, `outputs`, `params`, `matrix`, `checkpoints` (objects), `seed`,
`threads`, `replicate`, `trial` (of a study's), and `metrics` (a path or null). Arguments are matched by name: first these
groups, else the name of one parameter, matrix value, input, output or checkpoint; `**kwargs` gets
the parameters that are left. What the function returns is its metrics. Standard library only.

Exit status: 2 for what is wrong with the call, 1 for what is wrong with the function's result;
an exception of the function ends the process as it would end any program.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn

GROUPS = ("inputs", "outputs", "params", "matrix", "checkpoints")
SINGLES = ("seed", "threads", "replicate", "metrics", "trial")
LOOKUP = ("params", "matrix", "inputs", "outputs", "checkpoints")
_MISSING = object()


class Group(dict):  # type: ignore[type-arg]  # Python 3.8 cannot subscript it
    """A group of named values: a dict whose values are attributes as well (`params.C`).

    It pickles as a plain dict, so that what a step saves can be loaded without this file.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(
            (key, Group(value) if isinstance(value, dict) else value)
            for key, value in values.items()
        )

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError("no %r here%s" % (name, _hint(name, self))) from None

    def __copy__(self) -> Group:
        return Group(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Group:
        import copy

        return Group({key: copy.deepcopy(value, memo) for key, value in self.items()})

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


def main(arguments: list[str]) -> None:
    """Call the function that the command line names and keep its metrics."""
    if len(arguments) != 2:
        _stop(2, "call.py takes module:function and one JSON object, not %r" % (arguments,))
    target, text = arguments
    given = _given(text)
    directory = os.getcwd()
    here = os.path.dirname(os.path.abspath(__file__))
    # As `python -m` does; this folder must hide nothing (with -P it is not there).
    if sys.path and os.path.realpath(sys.path[0] or directory) == os.path.realpath(here):
        del sys.path[0]
    sys.path.insert(0, directory)
    sys.argv = [target]
    _hide_our_frames()
    function = _function(target)
    args, kwargs = _matched(target, function, given)
    _make_folders(given)
    path = given["metrics"]
    before = _mark(path)
    result = function(*args, **kwargs)
    if path is None:
        return
    if result is None:
        if _mark(path) == before:
            _stop(
                1,
                "%s returned nothing and did not write %s, which is where its metrics are "
                "expected; return a mapping of names to numbers" % (target, path),
            )
        return
    if path.lower().endswith(("/", ".csv", ".tsv")):
        _stop(
            1,
            "%s returned its metrics, which are kept as JSON, and %s is no JSON file; write it "
            "and return nothing, or declare metrics.json" % (target, path),
        )
    _write(path, _metrics(target, result))


def _given(text: str) -> dict[str, Any]:
    """The second argument, with every key that there can be."""
    try:
        given = json.loads(text)
    except ValueError as error:
        _stop(2, "call.py's second argument is not JSON: %s" % error)
    if not isinstance(given, dict):
        _stop(2, "call.py's second argument is not a JSON object: %s" % text)
    unknown = sorted(set(given) - set(GROUPS) - set(SINGLES))
    if unknown:
        _stop(2, "call.py does not know the key %r%s" % (unknown[0], _hint(unknown[0], GROUPS)))
    for name in GROUPS:
        value = given.setdefault(name, {})
        if not isinstance(value, dict):
            _stop(2, "call.py expects an object as %r, not %r" % (name, value))
    for name in SINGLES:
        given.setdefault(name, None)
    return given


def _function(target: str) -> Callable[..., Any]:
    """The function that `module:function` names, from its module under its real name."""
    name, _, path = target.partition(":")
    parts = [*name.split("."), *path.split(".")]
    if not all(part.isidentifier() for part in parts):
        _stop(2, "%r does not name a function: write module:function" % target)
    try:
        found: Any = importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name != missing and not name.startswith(missing + "."):
            raise  # the module is there: it imports something that is not
        _stop(
            2,
            "there is no module %s (looked for in %s)%s"
            % (missing, os.getcwd(), _hint(missing, _modules(missing))),
        )
    for part in path.split("."):
        inner = getattr(found, part, _MISSING)
        if inner is _MISSING:
            public = [key for key in dir(found) if callable(getattr(found, key, None))]
            own = [key for key in public if not key.startswith("_")]
            _stop(2, "there is no function %s in %s%s" % (path, name, _hint(part, own)))
        found = inner
    if not callable(found):
        _stop(2, "%s is no function but %r" % (target, type(found).__name__))
    return found  # type: ignore[no-any-return]


def _modules(name: str) -> list[str]:
    """What could have been meant by a module that is not there: its neighbours."""
    import pkgutil

    package, _, _ = name.rpartition(".")
    parent = sys.modules.get(package)
    paths = list(getattr(parent, "__path__", [])) if package else [os.getcwd()]
    prefix = package + "." if package else ""
    found = {module.name for module in pkgutil.iter_modules(paths)}
    for path in paths:  # a package needs no `__init__.py`
        found.update(entry.name for entry in os.scandir(path) if entry.is_dir())
    return [prefix + each for each in sorted(found) if each.isidentifier()]


def _matched(
    target: str, function: Callable[..., Any], given: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of the call: by position where the function insists, else by name."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        _stop(2, "the parameters of %s cannot be seen; wrap it in a Python function" % target)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    used = {parameter.name for parameter in parameters}
    for parameter in parameters:
        kind = parameter.kind
        if kind is parameter.VAR_POSITIONAL:
            continue
        if kind is parameter.VAR_KEYWORD:
            rest = {key: value for key, value in given["params"].items() if key not in used}
            kwargs.update(rest)
            continue
        value = _value(parameter.name, given)
        by_position = kind is parameter.POSITIONAL_ONLY
        if value is _MISSING and parameter.default is not parameter.empty:
            value = parameter.default if by_position else _MISSING
        elif value is _MISSING:
            _stop(2, _unmatched(target, parameter.name, given))
        if by_position:
            args.append(value)
        elif value is not _MISSING:
            kwargs[parameter.name] = value
    return args, kwargs


def _value(name: str, given: dict[str, Any]) -> Any:
    if name in GROUPS:
        return Group(given[name])
    if name in SINGLES and (name != "trial" or given["trial"] is not None):
        # A parameter may go by such a name; a null of ours must not hide it.
        return given["params"].get(name, given[name])
    for group in LOOKUP:
        if name in given[group]:
            return given[group][name]
    return _MISSING


def _unmatched(target: str, name: str, given: dict[str, Any]) -> str:
    there = ["%s (%s)" % (key, ", ".join(given[key])) for key in LOOKUP if given[key]]
    names = [key for group in LOOKUP for key in given[group]]
    return "%s needs %r, which nothing gives%s; there is: %s" % (
        target,
        name,
        _hint(name, names, " (did you mean %s?)"),
        ", ".join([*there, *SINGLES]),
    )


def _make_folders(given: dict[str, Any]) -> None:
    paths = [*given["outputs"].values(), *given["checkpoints"].values(), given["metrics"]]
    for path in paths:
        folder = os.path.dirname(path.rstrip("/")) if isinstance(path, str) else ""
        if folder:
            try:
                os.makedirs(folder, exist_ok=True)
            except OSError as error:
                _stop(1, "the folder of %s cannot be made: %s" % (path, error))


def _metrics(target: str, result: Any) -> dict[str, Any]:
    """The metrics in what the function returned, as JSON's own numbers."""
    if not (hasattr(result, "keys") and hasattr(result, "__getitem__")):
        kind = type(result).__name__
        _stop(1, "%s returned %s, not a mapping of metrics' names to numbers" % (target, kind))
    metrics = {}
    for name in result.keys():  # noqa: SIM118  (all that is sure to be there)
        if not isinstance(name, str):
            _stop(1, "%s returned a metric whose name is no string: %r" % (target, name))
        value = _number(result[name])
        if value is None:
            kind = type(result[name]).__name__
            _stop(1, "%s returned the metric %s, which is no number but %s" % (target, name, kind))
        metrics[name] = value
    return metrics


def _number(value: Any) -> bool | int | float | None:
    """A bool, int or float that equals `value`, or None for what is no number."""
    try:
        if hasattr(value, "item") and not isinstance(value, (int, float)):
            value = value.item()
        if isinstance(value, bool):
            return value
        if isinstance(value, int):
            return int(value)
        return float(value) if hasattr(value, "__float__") else None
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None


def _mark(path: str | None) -> tuple[int, ...] | None:
    """What changes when a file is written; None where there is none."""
    try:
        status = os.stat(path) if path is not None else None
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size) if status else None


def _write(path: str, metrics: dict[str, Any]) -> None:
    """Metrics as JSON, whole or not at all."""
    text = json.dumps(metrics, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, ".%s.%d.tmp" % (name, os.getpid()))
    try:
        with open(temporary, "wb") as stream:
            stream.write(text.encode("utf-8"))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        _stop(1, "the metrics could not be written to %s: %s" % (path, error))


def _hide_our_frames() -> None:
    """Let tracebacks begin in the user's code: these frames would tell them nothing."""
    previous = sys.excepthook
    ours = (os.path.abspath(__file__), __file__)

    def hook(kind: Any, error: BaseException, traceback: Any) -> None:
        frames = traceback
        while frames is not None and (
            frames.tb_frame.f_code.co_filename in ours
            or frames.tb_frame.f_code.co_filename == importlib.__file__
            or frames.tb_frame.f_code.co_filename.startswith("<frozen importlib")
        ):
            frames = frames.tb_next
        previous(kind, error.with_traceback(frames or traceback), frames or traceback)

    sys.excepthook = hook


def _hint(name: str, known: Iterable[str], form: str = "; did you mean %s?") -> str:
    import difflib

    near = difflib.get_close_matches(name, sorted(map(str, known)), n=1)
    return form % near[0] if near else ""


def _stop(status: int, sentence: str) -> NoReturn:
    end = "\n" if sentence.endswith("?") else ".\n"
    sys.stderr.write("ml-experiment: " + sentence + end)
    sys.exit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
