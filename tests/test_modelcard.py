"""A card, whole."""

from __future__ import annotations

from ml_experiment.modelcard import card
from ml_experiment.versions import Measured, Version

VERSION = Version(
    "digits",
    "d" * 32,
    {
        "code": {"fit.py": "c" * 32},
        "description": "Reads digits.",
        "environment": {"name": "sklearn", "python": "3.11.7"},
        "format": "joblib",
        "framework": "scikit-learn",
        "git": {"commit": "e" * 40, "remote": "https://example.org/digits.git"},
        "inputs": {"results/split/train.csv": "a" * 32, ".ml_experiment/keys/fit.json": "b" * 32},
        "job": "final/seed-0",
        "licence": "apache-2.0",
        "made": "2026-11-26T22:03:00.000Z",
        "packages": {"scikit-learn": "1.9.1"},
        "params": {"C": 3.0, "kernel": "a|b"},
        "path": "results/final/seed-0/model.joblib",
        "seed": 7,
        "size": 1234,
    },
    number=3,
)
MEASURED = [
    Measured("final", "accuracy", 0.9, 0.8, 1.0, 3),
    Measured("score", "test", 0.5, None, None, 1),
]
CARD = f"""\
---
license: apache-2.0
library_name: sklearn
metrics:
- accuracy
- test
datasets:
- digits.csv
tags:
- ml-experiment
---

# digits

Reads digits.

|  |  |
| --- | --- |
| experiment | paper |
| made by | final/seed-0 |
| made | 2026-11-26 |
| file | results/final/seed-0/model.joblib |
| MD5 | {"d" * 32} |
| size | 1,234 bytes |
| format | joblib |
| licence | apache-2.0 |

## Metrics

| measured by | metric | mean | 95 % interval of the mean | n |
| --- | --- | --- | --- | --- |
| final | accuracy | 0.9 | 0.8 to 1 | 3 |
| score | test | 0.5 | - | 1 |

## Training

Seed: 7.

| parameter | value |
| --- | --- |
| C | 3.0 |
| kernel | a\\|b |

| file | hash | what |
| --- | --- | --- |
| results/split/train.csv | {"a" * 32} | input |
| data/digits.csv | {"f" * 32} | raw data |
| fit.py | {"c" * 32} | code |

## Environment

|  |  |
| --- | --- |
| name | sklearn |
| python | 3.11.7 |
| scikit-learn | 1.9.1 |

## How to reproduce

```sh
git clone https://example.org/digits.git digits && cd digits
git checkout {"e" * 40}
ml-experiment models get digits/dddddddd   # these bytes, by their hash
snakemake --cores 1 --forceall results/final/seed-0/model.joblib   # or make them again
```
"""


def test_a_card() -> None:
    assert card(VERSION, "paper", MEASURED, {"data/digits.csv": "f" * 32}) == CARD


def test_what_a_person_wrote_stays_a_text() -> None:
    facts = {"path": "m", "licence": "yes: no", "seed": None}
    text = card(Version("m", "a" * 32, facts), "paper", [], {})
    assert 'license: "yes: no"\n' in text
    assert "Seed: nothing random." in text
    assert "None are recorded." in text
