"""The demo's data: images, reduced to as many features as there are qubits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

from ..errors import InvalidInputError
from ..training import read_split

_Split = tuple[NDArray[np.float64], NDArray[np.int64]]


@dataclass(frozen=True)
class Data:
    """A classification problem: features x (N, num_qubits) in [-pi/2, pi/2], classes y (N,).

    Attributes:
        source: Where the images come from, in words.
        names: The label of each class.
        explained: Share of the images' variance that the features hold.
    """

    source: str
    x_train: NDArray[np.float64]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.float64]
    y_test: NDArray[np.int64]
    names: tuple[int, ...]
    explained: float

    def logistic_regression(self) -> tuple[float, float]:
        """Accuracy of scikit-learn's logistic regression on the same features, in training and test."""
        model = LogisticRegression(max_iter=10_000).fit(self.x_train, self.y_train)
        return float(model.score(self.x_train, self.y_train)), float(model.score(self.x_test, self.y_test))


def load(directory: Path | None, *, num_qubits: int, num_classes: int, samples: int | None, seed: int) -> Data:
    """Load images of the first so many labels and reduce them to their first principal components as angles.

    Components and scale are learned from the training images alone; without a folder of IDX files the images are
    scikit-learn's handwritten digits.

    Raises:
        InvalidInputError: The data has fewer classes or pixels than asked for, or cannot be read.
    """
    source, train, test = _read(directory, seed)
    if train[0].shape[1] != test[0].shape[1]:
        raise InvalidInputError(
            f"{source}: training images have {train[0].shape[1]} pixels, test images {test[0].shape[1]}."
        )
    names = np.unique(train[1])
    if num_classes > len(names):
        raise InvalidInputError(f"--classes {num_classes}: {source} have only {len(names)}.")
    names, rng = names[:num_classes], np.random.default_rng(seed)
    (train_images, y_train), (test_images, y_test) = (_chosen(split, names, samples, rng) for split in (train, test))
    if len(np.unique(y_train)) < num_classes or not len(y_test):
        raise InvalidInputError(
            f"{source}: {len(y_train)} training and {len(y_test)} test images are too few "
            f"for {num_classes} classes; raise --samples."
        )
    x_train, x_test, explained = _angles(train_images, test_images, num_qubits, seed)
    return Data(source, x_train, y_train, x_test, y_test, tuple(names.tolist()), explained)


def _read(directory: Path | None, seed: int) -> tuple[str, _Split, _Split]:
    if directory is not None:
        return f"the IDX files in {directory}", read_split(directory, "train"), read_split(directory, "test")
    images, labels = load_digits(return_X_y=True)
    labels = labels.astype(np.int64)
    parts = train_test_split(images, labels, test_size=0.25, random_state=seed, stratify=labels)
    return "scikit-learn's handwritten digits (8x8 pixels)", (parts[0], parts[2]), (parts[1], parts[3])


def _chosen(split: _Split, names: NDArray[np.int64], samples: int | None, rng: np.random.Generator) -> _Split:
    """The images of some labels, at most so many, and their classes."""
    rows = np.flatnonzero(np.isin(split[1], names))
    if samples is not None and samples < len(rows):
        rows = rows[rng.permutation(len(rows))[:samples]]
    return split[0][rows], np.searchsorted(names, split[1][rows])


def _angles(
    train: NDArray[np.float64], test: NDArray[np.float64], num_qubits: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    available = min(train.shape)
    if num_qubits > available:
        raise InvalidInputError(
            f"--qubits {num_qubits}: {len(train)} images of {train.shape[1]} pixels have only "
            f"{available} principal components."
        )
    pca = PCA(num_qubits, random_state=seed)
    scaled = make_pipeline(pca, MaxAbsScaler()).fit(train)
    x_train, x_test = (np.clip(scaled.transform(images), -1, 1) * (np.pi / 2) for images in (train, test))
    return x_train, x_test, float(pca.explained_variance_ratio_.sum())
