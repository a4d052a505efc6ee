"""The benchmarks of deep circuits measure what they say."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import deep
import memory
import trade

from qiskit_fusedqml.training.idx import read_split


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"IMAGES": 2000, "FEATURES": 4, "DEPTH": 2, "CLASSES": 3}.items():
        monkeypatch.setattr(deep, name, value)


def test_images_are_in_the_real_format(few: None, tmp_path: Path) -> None:
    images, labels = read_split(deep.write_images(tmp_path), "train")
    assert images.shape == (2000, 784)
    assert set(labels) == {0, 1, 2}
    near = [np.linalg.norm(images[labels == k] - images[labels == k].mean(axis=0), axis=1).mean() for k in range(3)]
    assert max(near) < np.linalg.norm(images[labels == 0].mean(axis=0) - images[labels == 1].mean(axis=0))


def test_an_epoch_learns(few: None, tmp_path: Path) -> None:
    record = deep.epoch(deep.write_images(tmp_path), epochs=8)
    assert len(record["epoch_seconds"]) == 8
    assert record["loss"][-1] < 0.8 * record["loss"][0]
    assert len(record["resident_mib"]) == 8 * 8 // 50


def test_the_cross_entropy_and_its_slope() -> None:
    rng = np.random.default_rng(0)
    values, labels = rng.uniform(-1, 1, (4, deep.CLASSES + 1)), rng.integers(deep.CLASSES, size=4)
    logits = 4.0 * values[:, : deep.CLASSES]
    expected = np.mean([np.log(np.exp(row).sum()) - row[label] for row, label in zip(logits, labels, strict=True)])
    loss, cotangents = deep.cross_entropy(values, labels)
    assert loss == pytest.approx(expected)
    for k in np.ndindex(values.shape):
        moved = values.copy()
        moved[k] += 1e-6
        assert (deep.cross_entropy(moved, labels)[0] - loss) / 1e-6 == pytest.approx(cotangents[k], abs=1e-5)


@pytest.mark.parametrize("count", [0, 2, 5])
def test_recomputing_gives_the_same_gradient(count: int) -> None:
    f = deep.engine(4, 20, "double")
    given = trade.values_of(f, 3, 0)
    np.testing.assert_allclose(trade.recomputed(f, *given, count), f.value_and_vjp(*given)[2], atol=1e-12)


def test_the_program_of_the_scale_test() -> None:
    f = deep.engine(3, 5, "double", axes="y")
    assert (f.num_weights, f.num_inputs, len(f.observables)) == (15, 3, 2)
    record = deep._gradient(deep.engine(3, 5, "single"), np.array([[1.0, 0.0]]))
    assert record["weights"] == 45
    assert record["peak_mib"] >= record["planned_mib"] > 0


def test_the_memory_table_says_what_failed() -> None:
    ours = {"status": "ok", "own_mib": 12.4, "peak_mib": 100.0, "seconds": 1.0}
    text = memory.table(
        {"hea:n=4,L=1,B=1": {"ours": ours, "lightning": {"status": "timeout", "reason": ""}}}, memory.TOOLS
    )
    assert text.splitlines()[-1] == "| hea:n=4,L=1,B=1 | 12 MiB | timeout |"
