"""The methods that the paper compares with, at fixed parameters."""

from typing import Any

import joblib
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from workflow.scripts.data import learning_split


def forest(
    train: str, model: str, trees: int = 200, learn_fraction: float = 0.8
) -> dict[str, float]:
    """A random forest."""
    return _learn(RandomForestClassifier(n_estimators=trees), train, model, learn_fraction)


def logistic(
    train: str,
    model: str,
    C: float = 1.0,
    learn_fraction: float = 0.8,
) -> dict[str, float]:
    """Multinomial logistic regression on standardised pixels."""
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000))
    return _learn(pipeline, train, model, learn_fraction)


def _learn(classifier: Any, train: str, model: str, fraction: float) -> dict[str, float]:
    learn, check = learning_split(train, fraction)
    classifier.fit(*learn)
    joblib.dump(classifier, model)
    return {"accuracy": float(classifier.score(*check))}
