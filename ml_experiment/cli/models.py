"""`ml-experiment models`: its commands, their arguments, and what they print."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_experiment.cli import arguments

if TYPE_CHECKING:
    from ml_experiment.services.models import Difference, Models
    from ml_experiment.versions import Version

FEW = 12  # parts, packages, classes that are shown
CHAMPION = "champion"
WHICH = "NAME (what its job made last), NAME@ALIAS, NAME/NUMBER or NAME/HASH"
LIST_JSON = """

--json prints a list of versions, the oldest of a model first:
  name, version     the number in the registry; null where that does not answer
  aliases, hash     of its bytes: DVC's, MD5
  current           whether it is what the job made last
  path, job, made, record, run, seed, params, metrics, inputs, code, environment, packages, size,
  git, description, licence, format, framework     as far as known
"""
SHOW_JSON = """

--json prints one object: a version as `models list --json` has it, and
  where             workspace, cache, or: not on this machine
  measured          [{of, metric, mean, low, high, n}]: over replicates, with the 95 % interval
  file              {format, framework, runs_code, classes, whole, suspicious, parts}, or null
"""
DIFF_JSON = """

--json prints one object:
  same              whether the bytes are the same
  facts, files      {field: {from, to}}: what was recorded; size and format
  parts, remark     {tensor, member or key: how it differs}, or null and why not
"""


def models(options: argparse.Namespace) -> int:
    """`ml-experiment models`."""
    from ml_experiment import workspace
    from ml_experiment.cli.commands import experiment_file
    from ml_experiment.services import models as service

    loaded = service.load(workspace.open_plan(experiment_file(options)))
    if loaded.trouble:
        said = "versions are as records and models.json have them, without numbers"
        print(f"the registry was not asked: {loaded.trouble}; {said}", file=sys.stderr)
    if loaded.sender is not None:
        for what, why in loaded.sender.refused.items():
            print(f"{what} was refused: {why}", file=sys.stderr)
    done: int = _ACTIONS[options.action or "list"](options, loaded)
    return done


def _list(options: argparse.Namespace, loaded: Models) -> int:
    from ml_experiment.cli.tracking import columns

    if options.json:
        every = [each for there in loaded.versions.values() for each in there]
        print(json.dumps([_data(loaded, each) for each in every], indent=1))
        return 0
    for name, there in loaded.versions.items():
        model = next((each for each in reversed(there) if each.facts.get("description")), None)
        print(name + (f" · {model.facts['description']}" if model else ""))
        rows = [_row(loaded, each) for each in reversed(there)]
        print(_indented(columns(rows)) if rows else "  no version yet: a run makes one")
    if not loaded.versions:
        print("the experiment names no models: `models:`", file=sys.stderr)
    return 0


def _row(loaded: Models, version: Version) -> Sequence[str]:
    facts = version.facts
    when = str(facts.get("made", "")).replace("T", " ")[:16]
    number = str(version.number) if version.number else "-"
    metrics = ", ".join(f"{n} {v:.4g}" for n, v in list((facts.get("metrics") or {}).items())[:3])
    return number, version.hash[:8], when, _job(facts), metrics, ", ".join(_marks(loaded, version))


def _marks(loaded: Models, version: Version) -> list[str]:
    current = loaded.current.get(version.name) == version.hash
    return [*version.aliases, *(["current"] if current else [])]


def _job(facts: Mapping[str, Any]) -> str:
    seed = facts.get("seed")
    return f"{facts.get('job')}" + ("" if seed is None else f" · seed {seed}")


def _show(options: argparse.Namespace, loaded: Models) -> int:
    from ml_experiment.services import models as service

    version = service.find(loaded, options.model)
    if options.card:
        sys.stdout.write(service.card(loaded.plan, version))
        return 0
    where, found = service.described(loaded.plan, version)
    measured = service.measured(loaded.plan, version)
    if options.json:
        file = None
        if found is not None:
            file = {**vars(found), "runs_code": found.runs_code}
        known = {"where": where, "measured": [each._asdict() for each in measured], "file": file}
        print(json.dumps({**_data(loaded, version), **known}, indent=1))
        return 0
    facts = version.facts
    print(" · ".join([version.shown, *_marks(loaded, version)]))
    rows: list[tuple[str, str]] = [
        ("about", facts.get("description") or ""),
        ("licence", facts.get("licence") or ""),
        ("file", f"{facts.get('path')} · {facts.get('size', 0):,} bytes"),
        ("hash", f"{version.hash} · {where if where.startswith('not') else f'in the {where}'}"),
        ("format", _format(facts, found)),
        ("made by", f"{_job(facts)} · {str(facts.get('made', '')).replace('T', ' ')[:16]} UTC"),
        ("params", _pairs(facts.get("params"))),
        *(("metrics" if not i else "", text) for i, text in enumerate(_measured(measured, facts))),
        ("inputs", ", ".join(f"{p} {str(h)[:8]}" for p, h in _files(facts.get("inputs")))),
        ("code", ", ".join(f"{p} {str(h)[:8]}" for p, h in _files(facts.get("code")))),
        ("env", _environment(facts)),
        ("record", str(facts.get("record"))),
    ]
    for name, text in rows:
        if text:
            print(f"  {name:<8} {text}")
    if found is not None:
        print("".join(f"  {line}\n" for line in _contents(found)), end="")
    return 0


def _format(facts: Mapping[str, Any], found: Any) -> str:
    from ml_experiment.modelfiles import distribution

    known = found.format if found else facts.get("format")
    framework = found.framework if found else facts.get("framework")
    version = distribution(facts.get("packages") or {}, framework)
    return " · ".join(filter(None, [known, f"{framework} {version}".strip() if framework else ""]))


def _measured(measured: Sequence[Any], facts: Mapping[str, Any]) -> Iterator[str]:
    for each in measured:
        spread = "" if each.low is None else f" [{each.low:.4g}, {each.high:.4g}]"
        yield f"{each.of}: {each.metric} {each.mean:.4g}{spread}, n = {each.n}"
    if not measured and facts.get("metrics"):
        yield _pairs(facts["metrics"])


def _pairs(values: Mapping[str, Any] | None) -> str:
    from ml_experiment.placeholders import as_text

    return ", ".join(f"{name}={as_text(value)}" for name, value in (values or {}).items())


def _files(files: Mapping[str, Any] | None) -> Iterator[tuple[str, Any]]:
    for path, digest in (files or {}).items():
        if not path.startswith(".ml_experiment/"):
            yield path, digest


def _environment(facts: Mapping[str, Any]) -> str:
    known = facts.get("environment") or {}
    python = f"Python {known['python']}" if known.get("python") else ""
    count = len(facts.get("packages") or {})
    packages = "1 package" if count == 1 else f"{count} packages"
    parts = [known.get("name"), str(known.get("image") or "")[:19], python]
    return " · ".join(filter(None, [*parts, packages if count else ""]))


def _contents(found: Any) -> Iterator[str]:
    """What is in the file, and what loading it would do."""
    for name, part in list(found.parts.items())[:FEW]:
        shape = f"{part['dtype']}{part['shape']}" if "dtype" in part else ""
        value = json.dumps(part["value"]) if "value" in part else ""
        size = f"{part['size']:,} bytes" if "size" in part else ""
        yield f"  {name}  {shape or value or size}".rstrip()
    if len(found.parts) > FEW:
        yield f"  … and {len(found.parts) - FEW} more"
    if found.runs_code:
        more = "" if found.whole else ", and what could not be read"
        names = ", ".join(name.replace(" ", ".") for name in found.classes[:4])
        yield f"loading it runs code: it names {names or 'nothing'}{more}"
    if found.suspicious:
        names = ", ".join(name.replace(" ", ".") for name in found.suspicious)
        yield f"DO NOT LOAD IT: no model needs {names}"


def _get(options: argparse.Namespace, loaded: Models) -> int:
    from ml_experiment.services import modelbytes
    from ml_experiment.services import models as service

    version = service.find(loaded, options.model)
    out = Path(options.out) if options.out else None
    done = modelbytes.get(loaded.plan, version, out, options.remote, force=options.force)
    if options.json:
        print(
            json.dumps({**done._asdict(), "hash": version.hash, "model": version.shown}, indent=1)
        )
    elif done.source:
        print(f"{done.path}: {version.shown} from the {done.source}, {version.hash} as hashed")
    else:
        print(f"{done.path}: {version.shown} is there already, {version.hash} as hashed")
    return 0


def _promote(options: argparse.Namespace, loaded: Models) -> int:
    from ml_experiment.services import models as service

    version = service.find(loaded, options.model)
    before = service.promote(loaded, version, options.alias)
    if options.json:
        said = {
            "model": version.name,
            "version": version.number,
            "hash": version.hash,
            "alias": options.alias,
            "before": before.number if before else None,
        }
        print(json.dumps(said, indent=1))
        return 0
    was = f", which was {before.shown}" if before else ""
    print(f"{version.name}@{options.alias} is {version.shown}{was}")
    print("written: models.json, for git")
    return 0


def _diff(options: argparse.Namespace, loaded: Models) -> int:
    from ml_experiment.services import models as service

    one, other = (service.find(loaded, text) for text in (options.one, options.other))
    found = service.diff(loaded.plan, one, other)
    if options.json:
        print(json.dumps(found._asdict(), indent=1))
    else:
        print("\n".join(_differences(one, other, found)))
    return 0 if found.same else 1


def _differences(one: Version, other: Version, found: Difference) -> Iterator[str]:
    from ml_experiment.placeholders import as_text

    word = "the same bytes" if found.same else f"{one.hash[:8]} → {other.hash[:8]}"
    yield f"{one.shown} → {other.shown}: {word}"
    for field, pair in {**found.facts, **found.files}.items():
        old, new = ("-" if v is None else as_text(v) for v in (pair["from"], pair["to"]))
        if field.partition(".")[0] in ("inputs", "code"):
            old, new = old[:8], new[:8]
        yield f"  {field}: {old} → {new}"
    for name, how in list((found.parts or {}).items())[:FEW]:
        yield f"  {name}: {how}"
    if found.parts and len(found.parts) > FEW:
        yield f"  … and {len(found.parts) - FEW} more parts"
    if found.remark:
        yield f"  {found.remark}"


def _data(models: Models, version: Version) -> dict[str, Any]:
    """A version as data for a program."""
    from ml_experiment.services.models import MEASURED

    return {
        "name": version.name,
        "version": version.number,
        "aliases": list(version.aliases),
        "hash": version.hash,
        "current": models.current.get(version.name) == version.hash,
        **{key: value for key, value in sorted(version.facts.items()) if key != MEASURED},
    }


_ACTIONS = {"diff": _diff, "get": _get, "list": _list, "promote": _promote, "show": _show}


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def add(commands: object) -> None:
    """The arguments of these commands."""
    top = arguments.command_of(
        commands,
        "models",
        "models by name: their versions, where their bytes are, how they differ",
        "ml-experiment models                              the versions of all models",
        "ml-experiment models show digits@champion",
        "ml-experiment models show digits --card > README.md    a model card",
        "ml-experiment models get digits@champion --out model.joblib",
        "ml-experiment models promote digits/3             digits@champion from here on",
        "ml-experiment models diff digits@champion digits  against what was made last",
    )
    top.epilog = f"{top.epilog}{LIST_JSON}"
    _options(top)
    top.set_defaults(experiment=None, json=False)
    actions = top.add_subparsers(dest="action", metavar="ACTION")
    for action in (_add_list, _add_show, _add_get, _add_promote, _add_diff):
        action(actions)


def _add_list(actions: object) -> None:
    command = arguments.command_of(
        actions,
        "list",
        "say which versions there are (the default)",
        "ml-experiment models list --json | jq -r '.[] | select(.current).hash'",
    )
    command.epilog = f"{command.epilog}{LIST_JSON}"
    _options(command)


def _add_show(actions: object) -> None:
    command = arguments.command_of(
        actions,
        "show",
        "say what a version is: file, format, parameters, metrics, what it was made from",
        "ml-experiment models show digits",
        "ml-experiment models show digits/3 --json | jq .measured",
        "ml-experiment models show digits@champion --card > README.md",
    )
    command.epilog = f"{command.epilog}{SHOW_JSON}"
    command.add_argument("model", metavar="MODEL", help=WHICH)
    command.add_argument("--card", action="store_true", help="the model card, in Markdown")
    _options(command)


def _add_get(actions: object) -> None:
    command = arguments.command_of(
        actions,
        "get",
        "fetch the bytes of a version by their hash, which is checked; nothing is loaded",
        "ml-experiment models get digits@champion",
        "ml-experiment models get digits/3 --out models/digits.joblib",
    )
    command.add_argument("model", metavar="MODEL", help=WHICH)
    command.add_argument("--out", metavar="PATH", help="where to (NAME-VERSION, here)")
    command.add_argument("--remote", metavar="NAME", help="one of DVC's remotes (the default one)")
    command.add_argument("--force", action="store_true", help="replace another file at PATH")
    _options(command)


def _add_promote(actions: object) -> None:
    command = arguments.command_of(
        actions,
        "promote",
        "have an alias mean a version, in the registry and in models.json",
        "ml-experiment models promote digits/3",
        "ml-experiment models promote digits/4 --alias challenger",
    )
    command.add_argument("model", metavar="MODEL", help=WHICH)
    command.add_argument(
        "--alias", default=CHAMPION, metavar="ALIAS", help=f"the alias ({CHAMPION})"
    )
    _options(command)


def _add_diff(actions: object) -> None:
    command = arguments.command_of(
        actions,
        "diff",
        "say how two versions differ; exit code 1 if their bytes do",
        "ml-experiment models diff digits/2 digits/3",
        "ml-experiment models diff digits@champion digits --json | jq .facts",
    )
    command.epilog = f"{command.epilog}{DIFF_JSON}"
    command.add_argument("one", metavar="A", help=WHICH)
    command.add_argument("other", metavar="B", help="the same")
    _options(command)


def _options(command: argparse.ArgumentParser) -> None:
    """The same as before the action; given there they count as well."""
    command.add_argument(
        "--experiment",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="the experiment file (experiment.yaml)",
    )
    command.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="as JSON, see below"
    )
