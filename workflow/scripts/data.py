"""How every method gets its rows."""

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

Rows = tuple[np.ndarray, np.ndarray]  # pixels from 0 to 16, labels


def read(table: str) -> Rows:
    """The pixels and labels of a table."""
    frame = pd.read_parquet(table)
    return frame.filter(like="pixel").to_numpy(), frame["label"].to_numpy()


def learning_split(train: str, fraction: float) -> tuple[Rows, Rows]:
    """A random part of the training rows to learn from, and the others to validate on.

    Replicates thus measure how much a result depends on the training rows that one happened to
    have; an SVM would otherwise give the same model under every seed. This must be the first
    thing that a method draws: then equal seeds give all methods the same rows, and their
    differences are paired.
    """
    pixels, labels = read(train)
    learn, check = train_test_split(np.arange(len(labels)), train_size=fraction, stratify=labels)
    return (pixels[learn], labels[learn]), (pixels[check], labels[check])
