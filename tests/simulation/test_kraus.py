"""Channels on pure states: their operators, their order, and the sum over all trajectories."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qiskit.quantum_info import DensityMatrix, Kraus, SuperOp, random_quantum_channel
from support.mixed import superop

from qiskit_fusedqml.devices.registry import make_device
from qiskit_fusedqml.errors import SimulationError
from qiskit_fusedqml.ir.channel_table import CHANNELS
from qiskit_fusedqml.ir.channels import Channel, choi, transfer_of_kraus, transfer_of_superop
from qiskit_fusedqml.ir.dynamic import DynamicProgram, Segment
from qiskit_fusedqml.ir.program import Instruction, Program, Rotation
from qiskit_fusedqml.simulation.kraus import (
    KrausChannel,
    Noise,
    disturbed,
    kraus_channel,
    kraus_operators,
    unraveled,
)
from qiskit_fusedqml.simulation.states import States
from qiskit_fusedqml.simulation.trajectories import TooManyTrajectoriesError, Trajectories


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_operators_of_random_channels(k: int, rank: int) -> None:
    channel = SuperOp(random_quantum_channel(2**k, 2**k, rank, seed=k + 10 * rank))
    transfer = transfer_of_superop(channel.data)
    operators = kraus_operators(transfer)
    assert len(operators) == {1: 1, 2: 2, 3: 4}[rank]  # a power of two
    np.testing.assert_allclose(transfer_of_kraus(operators), transfer, atol=1e-12)
    np.testing.assert_allclose(SuperOp(Kraus(list(operators))).data, channel.data, atol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_operators_of_pauli_channels_are_strings(k: int) -> None:
    strength = 0.3
    diagonal = np.full(4**k, 1 - strength)
    diagonal[0] = 1.0
    channel = kraus_channel(tuple(range(k)), np.diag(diagonal))
    assert channel is not None
    assert channel.constant is not None
    assert channel.stays == pytest.approx(1 - strength + strength / 4**k)
    np.testing.assert_allclose(channel.constant[: 4**k - 1], 1 / (4**k - 1))
    assert channel.constant[-1] == 0.0  # makes up the number
    np.testing.assert_allclose(transfer_of(channel), np.diag(diagonal), atol=1e-14)


def transfer_of(channel: KrausChannel) -> NDArray[np.float64]:
    rest = transfer_of_kraus(channel.operators)
    return channel.stays * np.eye(len(rest)) + (1 - channel.stays) * rest


def test_as_much_stays_as_it_is_as_the_channel_allows() -> None:
    relaxation = CHANNELS["thermal_relaxation"]
    for t2, gamma in ((30.0, 1.0), (70.0, 1.0)):
        transfer = relaxation.transfer(*map(np.float64, (50.0, t2, gamma, 0.0)))
        both = transfer @ np.diag([1.0, 0.99, 0.99, 0.99])
        channel = kraus_channel((0,), both)
        assert channel is not None
        np.testing.assert_allclose(transfer_of(channel), both, atol=1e-12)
        assert np.linalg.eigvalsh(choi(both - channel.stays * np.eye(4)))[0] == pytest.approx(0.0, abs=1e-12)
        assert 0.95 < channel.stays < 1.0
    # T2 < T1 is a mixture of nothing, Z and a reset, which itself may leave the state as it is
    transfer = relaxation.transfer(*map(np.float64, (50.0, 30.0, 10.0, 0.0)))
    reset, dephased = 1 - np.exp(-10 / 50), (1 - np.exp(-10 / 30 + 10 / 50)) / 2
    found = kraus_channel((0,), transfer)
    assert found is not None
    assert (1 - reset) * (1 - dephased) < found.stays < 1 - dephased
    damping = kraus_channel((0,), CHANNELS["amplitude_damping"].transfer(np.float64(0.2)))
    assert damping is not None
    assert damping.stays == 0.0
    assert kraus_channel((0,), np.eye(4)) is None


def test_damping_depends_on_the_state() -> None:
    transfer = CHANNELS["amplitude_damping"].transfer(np.float64(0.2))
    channel = KrausChannel((0,), 0.0, kraus_operators(transfer))
    assert channel.constant is None
    states = States(make_device("CPU"), 1, 2, numbers=np.array([[1, 0], [0.6, 0.8]], dtype=complex))
    np.testing.assert_allclose(
        np.sort(channel.probabilities(states.reduced([0]))), [[0, 1], [0.128, 0.872]], atol=1e-15
    )


class Grid:
    """All quantiles of a uniform number, one for each shot, instead of random ones."""

    def __init__(self, count: int) -> None:
        self.count = count

    def uniform(self, trajectories: Trajectories) -> NDArray[np.float64]:
        digit = trajectories.shots // self.count ** trajectories.decisions[trajectories.of_shot] % self.count
        return np.asarray((digit + 0.5) / self.count)


@pytest.mark.parametrize("kind", ["pauli", "damping", "mixed"])
def test_shots_get_the_state_that_the_channel_leaves(kind: str) -> None:
    """Every combination of quantiles of the four numbers that two channels need, one shot each."""
    rng, count = np.random.default_rng(5), 25
    psi = rng.normal(size=4) + 1j * rng.normal(size=4)
    psi /= np.linalg.norm(psi)
    pauli, damping = np.diag([1.0, 0.6, 0.7, 0.8]), CHANNELS["amplitude_damping"].transfer(np.float64(0.4))
    transfers = {"pauli": (pauli, pauli), "damping": (damping, damping), "mixed": (pauli @ damping, pauli)}[kind]
    channels = [kraus_channel((qubit,), transfer) for qubit, transfer in enumerate(transfers)]
    noise = Noise(tuple(channel for channel in channels if channel is not None))
    shots = np.arange(count**4)
    start = Trajectories.start(DynamicProgram(2, 0, ()), make_device("CPU"), 1)
    states = States(make_device("CPU"), 2, 1, numbers=psi[None])
    start = replace(start, states=states, shots=shots, of_shot=np.zeros_like(shots))
    draws: Any = Grid(count)
    found = disturbed(start, noise, draws, 10**9)
    assert found.decisions.tolist() == [4] * found.count
    assert sorted(found.shots.tolist()) == shots.tolist()
    np.testing.assert_allclose(np.linalg.norm(found.states.numbers, axis=1), 1.0, atol=1e-12)
    weights = np.bincount(found.of_shot) / len(shots)
    total = np.einsum("t,ti,tj->ij", weights, found.states.numbers, found.states.numbers.conj())
    expected = DensityMatrix(psi)
    for qubit, transfer in enumerate(transfers):
        expected = expected.evolve(superop(transfer), [qubit])
    np.testing.assert_allclose(total, expected.data, atol=2 / count)
    with pytest.raises(TooManyTrajectoriesError):
        disturbed(start, noise, draws, found.count - 1)


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
