"""What does the boot folder add to a job: seeding, the report, the launch prefix?"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

from bench import REPOSITORY, Row, Target, in_turn, least, main, scratch, timed, walls

PROGRAMS = {
    "python -c pass": "pass",
    "import numpy": "import numpy",
    "import numpy, default_rng()": "import numpy; numpy.random.default_rng().random()",
    "import sklearn.linear_model": "import sklearn.linear_model",
}
MOST = Target("more", 0.030)


def prefixed(folder: Path) -> list[str]:
    """What a job's command begins with, without and with the boot folder's variable."""
    boot = {
        "replicate": 0,
        "report": str(folder / "report.jsonl"),
        "root": 1,
        "seeding": "full",
        "stream": "bench",
        "threads": 1,
    }
    return [
        "env",
        f"ML_EXPERIMENT_BOOT={json.dumps(boot)}",
        f"PYTHONPATH={REPOSITORY}/ml_experiment/boot",
    ]


def measure(rounds: int) -> list[Row]:
    """Wall time, the least of many: the imports vary by more than what is looked for."""
    rows = []
    with scratch() as folder:
        with_boot = prefixed(folder)
        for name, program in PROGRAMS.items():
            words = [sys.executable, "-c", program]
            taken = in_turn(
                rounds * 3,
                ours=functools.partial(timed, [*with_boot, *words], folder),
                peer=functools.partial(timed, ["env", *words], folder),
            )
            rows.append(least(f"boot: {name}", walls(taken["ours"]), walls(taken["peer"]), MOST))
        if not (folder / "report.jsonl").read_text("utf-8").strip():
            raise RuntimeError("no boot report was written")
        source = f". {REPOSITORY}/ml_experiment/boot/env.sh 1 1 /usr/bin; env A=1 bash -euo pipefail -c :"
        taken = in_turn(
            rounds * 3,
            ours=functools.partial(timed, ["bash", "-c", source], folder),
            peer=functools.partial(timed, ["bash", "-c", ":"], folder),
        )
        rows.append(
            least(
                "launch prefix, with the bash of `run`",
                walls(taken["ours"]),
                walls(taken["peer"]),
                MOST,
            )
        )
    return rows


if __name__ == "__main__":
    sys.exit(main(("boot", measure), rounds=5))
