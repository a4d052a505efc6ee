"""Channels on pure states: their operators, their order, and the sum over all trajectories."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qiskit.quantum_info import Kraus, SuperOp, random_quantum_channel
from support.channels import random_channel

from qiskit_fusedqml.devices.registry import make_device
from qiskit_fusedqml.errors import SimulationError
from qiskit_fusedqml.ir.channel_table import CHANNELS
from qiskit_fusedqml.ir.channels import Channel, transfer_of_kraus, transfer_of_superop
from qiskit_fusedqml.ir.dynamic import Segment
from qiskit_fusedqml.ir.program import Instruction, Program, Rotation
from qiskit_fusedqml.simulation.kraus import KrausChannel, Noise, kraus_operators, unraveled
from qiskit_fusedqml.simulation.states import States


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_operators_of_random_channels(k: int, rank: int) -> None:
    superop = SuperOp(random_quantum_channel(2**k, 2**k, rank, seed=k + 10 * rank))
    transfer = transfer_of_superop(superop.data)
    operators = kraus_operators(transfer)
    assert len(operators) == {1: 1, 2: 2, 3: 4}[rank]  # a power of two
    np.testing.assert_allclose(transfer_of_kraus(operators), transfer, atol=1e-12)
    np.testing.assert_allclose(SuperOp(Kraus(list(operators))).data, superop.data, atol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_operators_of_pauli_channels_are_strings(k: int) -> None:
    strength = 0.3
    diagonal = np.full(4**k, 1 - strength)
    diagonal[0] = 1.0
    channel = KrausChannel(tuple(range(k)), kraus_operators(np.diag(diagonal)))
    assert channel.constant is not None
    np.testing.assert_allclose(channel.constant[0], 1 - strength + strength / 4**k)
    np.testing.assert_allclose(channel.constant[1:], strength / 4**k)
    assert channel.keeps.tolist() == [True] + [False] * (4**k - 1)
    np.testing.assert_allclose(transfer_of_kraus(channel.operators), np.diag(diagonal), atol=1e-14)


def test_damping_depends_on_the_state() -> None:
    transfer = CHANNELS["amplitude_damping"].transfer(np.float64(0.2))
    channel = KrausChannel((0,), kraus_operators(transfer))
    assert channel.constant is None
    states = States(make_device("CPU"), 1, 2, numbers=np.array([[1, 0], [0.6, 0.8]], dtype=complex))
    np.testing.assert_allclose(np.sort(channel.probabilities(states)), [[0, 1], [0.128, 0.872]], atol=1e-15)


def all_paths(nodes: Any, states: States) -> np.ndarray[Any, Any]:
    """The density matrix that all Kraus operators leave, one after the other."""
    weights = np.ones(1)
    for node in nodes:
        assert isinstance(node, Noise)
        for channel in node.channels:
            chances = channel.probabilities(states)
            parents, chosen = np.nonzero(chances > 1e-14)
            states = channel.applied(states, parents, chosen, chances[parents, chosen])
            weights = weights[parents] * chances[parents, chosen]
    return np.einsum("t,ti,tj->ij", weights, states.numbers, states.numbers.conj())


@pytest.mark.parametrize("seed", range(4))
def test_all_trajectories_together_are_the_channel(seed: int) -> None:
    rng, n = np.random.default_rng(seed), 3
    psi = rng.normal(size=8) + 1j * rng.normal(size=8)
    psi /= np.linalg.norm(psi)
    channels, expected = [], np.outer(psi, psi.conj())
    for k in (1, 2, 1, 2):
        operators = random_channel(rng, k)
        qubits = tuple(rng.permutation(n)[:k].tolist())
        channels.append(Channel(qubits, transfer_of_kraus(operators)))
        for_qiskit = Kraus(list(operators))
        from qiskit.quantum_info import DensityMatrix

        expected = DensityMatrix(expected).evolve(for_qiskit, list(qubits)).data
    program = Program(n, 0, tuple(channels))
    start = States(make_device("CPU"), n, 1, numbers=psi[None])
    np.testing.assert_allclose(all_paths(unraveled([Segment(program)]), start), expected, atol=1e-12)


def test_what_acts_on_other_qubits_changes_places_with_channels() -> None:
    noise = Channel((0,), np.diag([1.0, 0.9, 0.9, 0.9]))
    both = Channel((0, 1), np.diag([1.0] + [0.9] * 15))
    x, y, xx = Rotation(1, 0, theta=0.1), Rotation(2, 2, theta=0.2), Rotation(3, 0, theta=0.3)
    cases: list[tuple[tuple[Instruction, ...], list[Any]]] = [
        ((x, noise, y, noise, y), [(x, y, y), [(0,)]]),  # two channels on the same qubit are one
        ((x, noise, xx, noise), [(x,), [(0,)], (xx,), [(0,)]]),
        ((x, both, y, noise, xx), [(x,), [(0, 1)], (y, xx)]),  # within the wider one, which the other qubit is past
        ((noise, both), [[(0,), (0, 1)]]),
    ]
    for instructions, expected in cases:
        nodes = unraveled([Segment(Program(2, 0, instructions))])
        found = [
            node.program.instructions if isinstance(node, Segment) else [each.qubits for each in node.channels]
            for node in nodes
        ]
        flat = [each for each in found if not isinstance(each, list)]
        assert flat == [each for each in expected if not isinstance(each, list)]
        channels = [qubits for each in found if isinstance(each, list) for qubits in each]
        assert channels == [qubits for each in expected if isinstance(each, list) for qubits in each]


def test_channels_with_parameters_are_refused() -> None:
    channel = Channel((0,), None, CHANNELS["bit_flip"], (0,), (0.0,))
    with pytest.raises(SimulationError, match="has parameters"):
        unraveled([Segment(Program(1, 1, (channel,)), (0,))])
