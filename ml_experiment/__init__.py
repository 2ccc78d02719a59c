"""A reproducibility layer for machine learning on Snakemake."""

import importlib as _importlib
import sys as _sys

__version__ = "0.1.0"


def report(step: int, value: float) -> None:
    """Report a value on the way of a trial, such as the loss after an epoch.

    With a pruner the trial may end here: then this raises a `SystemExit` with status 0. Outside a
    job of an experiment nothing happens.

    Args:
        step: a whole number from 0; a second report of a step is passed over.
        value: of the study's objective, as far as it is known.
    """
    if "_ml_experiment_boot" in _sys.modules:  # put there when the job's Python started
        _importlib.import_module("_ml_experiment_boot.trial").report(step, value)
