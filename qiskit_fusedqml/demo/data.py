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

from ..errors import InvalidInputError
from ..training import read_split

TEST_SHARE = 0.25
"""Share of scikit-learn's digits that is kept for testing."""


@dataclass(frozen=True)
class Data:
    """A classification problem whose features are rotation angles.

    Attributes:
        source: Where the images come from, in words.
        x_train: Features (N, num_qubits) in [-pi/2, pi/2].
        y_train: Class (N,), 0 to ``len(names) - 1``.
        x_test: As ``x_train``.
        y_test: As ``y_train``.
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


@dataclass(frozen=True)
class _Split:
    images: NDArray[np.float64]
    labels: NDArray[np.int64]

    def only(self, names: NDArray[np.int64]) -> _Split:
        keep = np.isin(self.labels, names)
        return _Split(self.images[keep], np.searchsorted(names, self.labels[keep]))

    def at_most(self, samples: int | None, rng: np.random.Generator) -> _Split:
        if samples is None or samples >= len(self.labels):
            return self
        chosen = rng.permutation(len(self.labels))[:samples]
        return _Split(self.images[chosen], self.labels[chosen])


def load(directory: Path | None, *, num_qubits: int, num_classes: int, samples: int | None, seed: int) -> Data:
    """Load images and reduce them to angles.

    Args:
        directory: A folder with MNIST-format IDX files, or None for scikit-learn's handwritten digits.
        num_qubits: Number of features: principal components of the training images.
        num_classes: The first so many labels are used.
        samples: At most so many training images (all when None), and as many test images.
        seed: Seed of the split and of the choice.

    Returns:
        The data; principal components and scale are learned from the training images alone.

    Raises:
        InvalidInputError: The data has fewer classes or pixels than asked for, or cannot be read.
    """
    if directory is None:
        source = "scikit-learn's handwritten digits (8x8 pixels)"
        images, labels = load_digits(return_X_y=True)
        parts = train_test_split(
            images, labels.astype(np.int64), test_size=TEST_SHARE, random_state=seed, stratify=labels
        )
        train, test = _Split(parts[0], parts[2]), _Split(parts[1], parts[3])
    else:
        source = f"the IDX files in {directory}"
        train, test = _Split(*read_split(directory, "train")), _Split(*read_split(directory, "test"))
    names = _classes(source, train, test, num_classes)
    rng = np.random.default_rng(seed)
    train, test = (split.only(names).at_most(samples, rng) for split in (train, test))
    if len(np.unique(train.labels)) < num_classes or not len(test.labels):
        raise InvalidInputError(
            f"{source}: {len(train.labels)} training and {len(test.labels)} test images are too few "
            f"for {num_classes} classes; raise --samples."
        )
    angles, explained = _angles(train, test, num_qubits, seed)
    return Data(source, angles[0], train.labels, angles[1], test.labels, tuple(int(name) for name in names), explained)


def _classes(source: str, train: _Split, test: _Split, num_classes: int) -> NDArray[np.int64]:
    if train.images.shape[1] != test.images.shape[1]:
        raise InvalidInputError(
            f"{source}: training images have {train.images.shape[1]} pixels, test images {test.images.shape[1]}."
        )
    names = np.unique(train.labels)
    if num_classes > len(names):
        raise InvalidInputError(f"--classes {num_classes}: {source} have only {len(names)}.")
    return names[:num_classes]


def _angles(
    train: _Split, test: _Split, num_qubits: int, seed: int
) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]], float]:
    available = min(train.images.shape)
    if num_qubits > available:
        raise InvalidInputError(
            f"--qubits {num_qubits}: {len(train.images)} images of {train.images.shape[1]} pixels have only "
            f"{available} principal components."
        )
    pca = PCA(num_qubits, random_state=seed).fit(train.images)
    largest = np.abs(pca.transform(train.images)).max(axis=0)
    largest[largest == 0] = 1  # a component without variance: every image has the same value, 0
    x_train, x_test = (np.clip(pca.transform(split.images) / largest, -1, 1) * (np.pi / 2) for split in (train, test))
    return (x_train, x_test), float(pca.explained_variance_ratio_.sum())
