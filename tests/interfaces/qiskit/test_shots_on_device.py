"""Shots that a GPU draws itself: through the sampler and the simulator, on a stand-in for CuPy."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from qiskit import QuantumCircuit
from support.emulation import fake_cupy

from qiskit_fusedqml import FusedSampler, FusedSimulator


@pytest.fixture
def cupy(monkeypatch):
    module = fake_cupy.make()
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr("qiskit_fusedqml.devices.gpu.runtime._kernels", {})
    return module


def entangled() -> QuantumCircuit:
    circuit = QuantumCircuit(3, 3)
    circuit.ry(2 * np.arcsin(np.sqrt(0.2)), 0)
    circuit.cx(0, 2)
    circuit.measure([0, 2, 1], [1, 0, 2])
    return circuit


def test_the_sampler(cupy):
    shots = 4000
    counts = [
        FusedSampler(default_shots=shots, seed=seed, device="GPU").run([entangled()]).result()[0].data.c.get_counts()
        for seed in (3, 3, 4)
    ]
    assert counts[0] == counts[1] != counts[2]
    assert set(counts[0]) == {"000", "011"}
    assert abs(counts[0]["011"] / shots - 0.2) < 4 * np.sqrt(0.2 * 0.8 / shots)
    assert any("draw_outcomes" in name for name, *_ in cupy.launched)


def test_the_simulator(cupy):
    result = FusedSimulator(device="GPU", seed_simulator=5).run(entangled(), shots=500, memory=True).result()
    assert sum(result.get_counts().values()) == 500
    assert set(result.get_memory()) == {"000", "011"}
    assert result.get_memory() != sorted(result.get_memory())
    assert any("draw_outcomes" in name for name, *_ in cupy.launched)
