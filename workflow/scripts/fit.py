"""The method of the paper: a support vector machine."""

import joblib
from sklearn.svm import SVC

from workflow.scripts.data import learning_split


def fit(
    train: str,
    model: str,
    C: float = 1.0,
    gamma: float | str = "scale",
    kernel: str = "rbf",
    degree: int = 3,
    learn_fraction: float = 0.8,
) -> dict[str, float]:
    """Learn, save the model, and return the accuracy on the training rows held back."""
    learn, check = learning_split(train, learn_fraction)
    svm = SVC(C=C, gamma=gamma, kernel=kernel, degree=degree).fit(*learn)
    joblib.dump(svm, model)
    return {"accuracy": float(svm.score(*check))}
