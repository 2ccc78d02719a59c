"""Which GPUs there are, and which of them a job gets: pure, but for the question to the driver.

A device is what CUDA_VISIBLE_DEVICES calls it, a number or a UUID. Shares are thousandths of one.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

WHOLE = 1000
DRIVER = ("nvidia-smi", "-L")
PATIENCE = 30.0  # seconds for the driver, which may have to be loaded first


def asked(resources: Mapping[str, object]) -> int:
    """What a job asks for: `gpu_milli`, else `gpu` as whole ones. Several devices are whole ones."""
    milli = _number(resources.get("gpu_milli")) or WHOLE * _number(resources.get("gpu"))
    return milli if milli <= WHOLE else -(-milli // WHOLE) * WHOLE


def _number(value: object) -> int:
    return max(value, 0) if isinstance(value, int) else 0


def fit(used: Sequence[int], shares: Sequence[int]) -> list[tuple[int, ...]] | None:
    """The positions of the devices for each share, the lowest that fit; None if not all do now.

    Args:
        used: how much of each device is taken.
        shares: what jobs that have to run at the same time ask for.
    """
    now = list(used)
    found = []
    for share in shares:
        count, part = max(share // WHOLE, 1), min(share, WHOLE)
        free = [place for place, taken in enumerate(now) if taken + part <= WHOLE][:count]
        if len(free) < count:
            return None
        for place in free:
            now[place] += part
        found.append(tuple(free))
    return found


def lacking(shares: Sequence[int], devices: Sequence[str]) -> str | None:
    """Why jobs that have to run at the same time cannot, however long they wait."""
    if fit([0] * len(devices), shares) is not None:
        return None
    wanted = " + ".join(f"{share / WHOLE:g}" for share in shares)
    there = f"there are only {', '.join(devices)}" if len(devices) > 1 else "there is none"
    if len(devices) == 1:
        there = f"there is only {devices[0]}"
    return f"it asks for {wanted} GPU{'s' if sum(shares) > WHOLE else ''}, and {there}"


def devices(given: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The devices of this run: those that it was given, else those that it may see, else all."""
    visible = given or environ.get("CUDA_VISIBLE_DEVICES")
    return _driven() if visible is None else listed(visible)


def listed(text: str) -> tuple[str, ...]:
    """The devices that a list names. As for CUDA, one that cannot be is the end of it."""
    found: dict[str, None] = {}
    for word in map(str.strip, text.split(",")):
        if not word or word.startswith("-") or word == "NoDevFiles":
            break
        found[word] = None
    return tuple(found)


def _driven() -> tuple[str, ...]:
    """The devices that the driver knows, by number."""
    try:
        done = subprocess.run(DRIVER, capture_output=True, text=True, check=False, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    return tuple(str(number) for number, _ in enumerate(x for x in lines if x.startswith("GPU ")))
