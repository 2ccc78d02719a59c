"""What is in an image: what a shell in it says of packages and programs, and how two images differ."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Printed by a shell in the image: a line for each package, `where name version` with tabs between.
LISTING = r"""
if command -v dpkg-query > /dev/null; then dpkg-query -W -f 'debian\t${Package}:${Architecture}\t${Version}\n'; fi
if command -v apk > /dev/null; then apk list --installed 2> /dev/null | sed -E 's/^(.*)-([^- ]+-r[0-9]+) .*/alpine\t\1\t\2/'; fi
if command -v rpm > /dev/null; then rpm -qa --qf 'rpm\t%{NAME}.%{ARCH}\t%{VERSION}-%{RELEASE}\n'; fi
python=$(command -v python || command -v python3) && "$python" -c '
import platform
from importlib import metadata
print("program", "python", platform.python_version(), sep="\t")
for found in metadata.distributions():
    print("python", found.metadata["Name"], found.version, sep="\t")
'
if command -v Rscript > /dev/null; then Rscript -e '
cat("program\tr\t", as.character(getRversion()), "\n", sep = "")
found <- installed.packages()
cat(paste("r", found[, "Package"], found[, "Version"], sep = "\t", collapse = "\n"), "\n", sep = "")
'; fi
for program in bash python; do if command -v "$program" > /dev/null; then printf 'has\t%s\t1\n' "$program"; fi; done
true
"""


def packages(listing: str) -> dict[str, dict[str, str]]:
    """What LISTING has printed: where -> name -> version, sorted."""
    found: dict[str, dict[str, str]] = {}
    for line in listing.splitlines():
        parts = line.split("\t")
        if len(parts) == 3:
            where, name, version = parts
            if where == "python":
                name = re.sub(r"[-_.]+", "-", name).lower()
            found.setdefault(where, {})[name] = version.strip()
    return {where: dict(sorted(names.items())) for where, names in sorted(found.items())}


def package_differences(
    before: Mapping[str, Mapping[str, str]], after: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """A line for each package that two images do not have in the same version."""
    lines = []
    for where in sorted({*before, *after}):
        one, other = before.get(where, {}), after.get(where, {})
        lines += [
            f"{where} {name}: {one.get(name, 'not there')} → {other.get(name, 'not there')}"
            for name in sorted({*one, *other})
            if one.get(name) != other.get(name)
        ]
    return lines


def file_differences(
    before: Mapping[str, tuple[str, ...]], after: Mapping[str, tuple[str, ...]]
) -> list[str]:
    """A line for each file that is not the same in two images.

    Args:
        before: path -> kind, mode, owner, target of a link, digest of the bytes.
        after: the same of the other one.
    """
    parts = ("kind", "mode", "owner", "target", "content")
    lines = []
    for path in sorted({*before, *after}):
        one, other = before.get(path), after.get(path)
        if one is None or other is None:
            lines.append(f"{path}: only in the {'second' if one is None else 'first'}")
        elif one != other:
            what = [part for part, a, b in zip(parts, one, other, strict=True) if a != b]
            lines.append(f"{path}: {', '.join(what)}")
    return lines
