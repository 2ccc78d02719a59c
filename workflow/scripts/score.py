"""What one model says about the test images."""

from collections.abc import Mapping
from typing import Any

import joblib
import pandas as pd

from workflow.scripts.data import read


def score(
    model: str,
    test: str,
    predictions: str,
    params: Mapping[str, Any],
    matrix: Mapping[str, Any],
    replicate: int,
) -> dict[str, float]:
    """Write a row for each test image, which says what it is about, and return the accuracy."""
    pixels, labels = read(test)
    predicted = joblib.load(model).predict(pixels)
    table = pd.DataFrame(
        {
            "method": matrix["method"] if "method" in matrix else params["method"],
            "replicate": replicate,
            "image": pd.read_parquet(test, columns=["image"])["image"],
            "label": labels,
            "predicted": predicted,
        }
    )
    table.to_csv(predictions, index=False, lineterminator="\n")
    return {"accuracy": float((predicted == labels).mean())}
