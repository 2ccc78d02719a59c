"""A sampler as people write them: it keeps its state where it likes, and draws from any generator."""

from __future__ import annotations

import pickle
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


class Climber(optuna.samplers.BaseSampler):
    """Goes on from the best point so far, in steps that grow smaller."""

    def __init__(self, seed: int, width: float = 1.0) -> None:
        self._fallback = optuna.samplers.RandomSampler(seed)
        self._width = width
        self._best: tuple[float, dict[str, Any]] | None = None

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The numbers of the best trial."""
        if self._best is None:
            return {}
        kinds = (optuna.distributions.FloatDistribution, optuna.distributions.IntDistribution)
        known = study.trials[0].distributions
        return {n: d for n, d in known.items() if isinstance(d, kinds) and n in self._best[1]}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Steps of two generators that all code shares."""
        assert search_space == {} or self._best is not None
        found = {}
        for name, kind in search_space.items():
            step = self._width * (random.random() - 0.5) + float(np.random.normal()) / 10
            low, high = kind.low, kind.high  # type: ignore[attr-defined]
            value = min(max(self._best[1][name] + step * (high - low), low), high)  # type: ignore[index]
            found[name] = kind.to_external_repr(kind.to_internal_repr(value))
            if isinstance(kind, optuna.distributions.IntDistribution):
                found[name] = round(value)
        return found

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """Whatever there is."""
        return self._fallback.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Any
    ) -> None:
        """Keeps the best one in the object, and a pickle where Optuna's own keep some."""
        if state == TrialState.COMPLETE and (self._best is None or values[0] < self._best[0]):
            self._best = values[0], dict(trial.params)
            self._width *= 0.9
        held = pickle.dumps(self._best).hex()
        study._storage.set_study_system_attr(study._study_id, "climber", held)
