"""The seed of a generator is documented and may never change."""

from __future__ import annotations

import itertools

import pytest

from tests.boot.jobs import derive

GOLDEN = [
    ((20261123, "fit", 0, "seed"), 1880171883),
    ((20261123, "fit", 0, "random"), 104890360),
    ((20261123, "fit", 0, "numpy"), 1149813816),
    ((20261123, "fit", 0, "numpy.default_rng"), 1488272138),
]


@pytest.mark.parametrize(("arguments", "seed"), GOLDEN)
def test_golden(arguments: tuple[int, str, int, str], seed: int) -> None:
    assert derive(*arguments) == seed


def test_each_argument_counts_and_every_library_takes_it() -> None:
    roots, streams, replicates = (0, 1, 2**70, -1), ("fit", "fït", "", 'a"b'), (None, 0, 1)
    names = ("random", "numpy", "torch", "random@1")
    cases = list(itertools.product(roots, streams, replicates, names))
    seeds = [derive(*case) for case in cases]
    assert len(set(seeds)) == len(cases)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seeds == [derive(*case) for case in cases]
