"""What is timed, and how: tapes of one kind of operation, passes over a large state, and layered programs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import cos, pi, sin, tan
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..devices import State
from ..devices._native import Coefficients
from ..devices.coefficients import CompiledCoefficientMap
from ..devices.cpu import CPUDevice
from ..ir.program import Program, Rotation
from ..planner import fuse
from ..planner.cost import Work, operation_work
from ..planner.frame import Frame
from ..planner.tape import RY, U2, Block, Dense, Diag, Factor, Operation, Pauli, Tape

Clock: TypeAlias = Callable[[], float]
Action: TypeAlias = Callable[[], object]

_WORK = 50
"""Multiply-adds per amplitude that a tape of one kind does forward, at least: the call around it costs nothing then."""

_SMALL_ANGLE = 0.005
"""A factored rotation stretches the state a little each time; by such an angle it may do so for long."""

_FACTORED = ("ry_factored", "pauli")
"""Kinds that are timed with one coefficient equal to 1."""

_DENSE = {"dense_2": 2, "dense_3": 3}
"""Qubits of the matrices that are timed."""


@dataclass(frozen=True)
class Timer:
    """Times actions that run on the calling thread.

    Attributes:
        seconds: After this long no further round begins, once there were enough.
        fewest_rounds: Rounds that are run however long they take.
        most_rounds: Rounds that are enough.
        clock: Seconds; by default those that this thread spent on a core, so that time given to others is left out.
        watch: Seconds that pass, for ``seconds``.
    """

    seconds: float = 1.0
    fewest_rounds: int = 30
    most_rounds: int = 2000
    clock: Clock = time.thread_time
    watch: Clock = time.monotonic

    def fastest(self, actions: Sequence[Action]) -> list[float]:
        """Seconds that each action takes when nothing disturbs it.

        The actions take turns, so that a slow moment of the machine falls on all of them. Of many short times the
        least, but for one in twenty, is one that nothing disturbed; the least of all may be a slip of the clock, as
        virtual machines take time stolen from them off afterwards.
        """
        times: list[list[float]] = [[] for _ in actions]
        end = self.watch() + self.seconds
        for turn in range(self.most_rounds):
            if turn >= self.fewest_rounds and self.watch() >= end:
                break
            for action, kept in zip(actions, times, strict=True):
                start = self.clock()
                action()
                kept.append(self.clock() - start)
        return [sorted(kept)[len(kept) // 20] for kept in times]


class States(NamedTuple):
    """A ket and a bra whose samples fill the lanes once; probes that share them find them in the cache."""

    device: CPUDevice
    ket: State
    bra: State

    @classmethod
    def of(cls, device: CPUDevice, num_qubits: int) -> States:
        """Random ones."""
        rng = np.random.default_rng(4)
        amplitudes = rng.normal(size=1 << num_qubits) + 1j * rng.normal(size=1 << num_qubits)
        empty = Tape(num_qubits, (), Frame.identity(num_qubits), 0)
        ket = device.allocate(empty, device.cost_model.lanes, amplitudes / np.linalg.norm(amplitudes))
        return cls(device, ket, device.copy(ket))


class Probe(NamedTuple):
    """A forward and a backward sweep to be timed, and their work per amplitude as the planner counts it."""

    forward: Action
    backward: Action
    work: Work

    @classmethod
    def of(cls, states: States, tape: Tape, coefficients: Coefficients, work: Work) -> Probe:
        """The sweeps of a tape."""
        device, ket, bra = states
        return cls(
            lambda: device.forward(tape, coefficients, ket),
            lambda: device.backward(tape, coefficients, ket, bra, per_sample=False),
            work,
        )


def operations_probe(kind: str, states: States) -> Probe:
    """Many operations of a kind, on every qubit in turn, in states that are one tile."""
    num_qubits = states.ket.num_qubits
    frame = Frame.folded(num_qubits, 0, states.device.cost_model.fold_bits)  # as the planner numbers amplitudes
    operations: list[Operation] = []
    work = Work()
    while work.forward < _WORK:
        layer = _layer(kind, frame, sum(op.num_overlaps for op in operations))
        work = sum((operation_work(op, factored=kind in _FACTORED, undone=True) for op in layer), start=work)
        operations += layer
    tile = tuple(1 << q for q in range(num_qubits))
    tape = Tape(num_qubits, (Block(tile, tuple(operations)),), frame, sum(op.num_overlaps for op in operations))
    return Probe.of(states, tape, _coefficients(kind, num_qubits), work)


def traffic_probe(states: States) -> Probe:
    """Two passes over states that are larger than the caches, one rotation in each, through tiles of distant rows."""
    model, num_qubits = states.device.cost_model, states.ket.num_qubits
    size = min(model.tile_qubits, num_qubits - 1)
    frame = Frame.folded(num_qubits, 0, min(model.fold_bits, num_qubits - size - 1))
    blocks = []
    for first in (num_qubits - size, num_qubits - size - 1):
        tile = frame.columns[first : first + size]
        blocks.append(Block(tile, (RY(tile[0], frame.duals[first], 0),)))
    tape = Tape(num_qubits, tuple(blocks), frame, 0)
    moved = 2.0 * model.amplitude_bytes * len(blocks)
    rotations = operation_work(blocks[0].operations[0], factored=True, undone=True)
    work = Work(len(blocks) * rotations.forward, len(blocks) * rotations.backward, moved, 2 * moved)
    return Probe.of(states, tape, _coefficients("ry_factored", num_qubits), work)


def program_step(device: CPUDevice, num_qubits: int, layers: int, batch: int) -> Action:
    """Both sweeps of a layered circuit as the device's planner cuts it, all gradients wanted."""
    program = layered_program(num_qubits, layers)
    every = frozenset(range(program.num_angles))
    plan = fuse(program, device.cost_model, wanted_slots=every, batch=batch, keep_phase=False)
    angles = np.random.default_rng(5).uniform(-3, 3, program.num_angles)
    bound = CompiledCoefficientMap(plan.tables).bind(angles, np.zeros((batch, 0)))
    assert bound is not None  # the angles are finite
    coefficients = bound.coefficients
    ket = device.allocate(plan.tape, batch, None)
    device.forward(plan.tape, coefficients, ket)
    bra = device.copy(ket)
    device.backward(plan.tape, coefficients, ket, bra, per_sample=False)

    def step() -> None:
        device.forward(plan.tape, coefficients, ket)
        # the bra is not the ket's own: what its numbers are makes no difference to the time
        device.backward(plan.tape, coefficients, ket, bra, per_sample=False)

    return step


def layered_program(num_qubits: int, layers: int) -> Program:
    """Layers of RX, RY, RZ on every qubit, each with an angle of its own, and a ring of CX."""
    instructions = []
    slot = 0
    for _ in range(layers):
        for q in range(num_qubits):
            for x, z in ((1, 0), (1, 1), (0, 1)):
                instructions.append(Rotation(x << q, z << q, slot=slot))
                slot += 1
        for q in range(num_qubits):
            control, target = 1 << q, 1 << (q + 1) % num_qubits
            instructions.append(Rotation(target, 0, control, control, theta=pi))
            instructions.append(Rotation(0, 0, control, control, theta=-pi))
    return Program(num_qubits, slot, tuple(instructions))


def _layer(kind: str, frame: Frame, first: int) -> list[Operation]:
    """A layer of a kind on all qubits, with the overlaps that training wants from number ``first`` on."""
    n, xs, ws = frame.num_qubits, frame.columns, frame.duals
    match kind:
        case "ry_factored" | "ry_plain":
            return [RY(xs[q], ws[q], 0, False, first + 2 * q, 2) for q in range(n)]
        case "u2":
            return [U2(xs[q], ws[q], 0, False, first + 3 * q) for q in range(n)]
        case "pauli":
            return [Pauli(xs[q] ^ xs[q + 1], 0, 0, (), 0, False, first + q) for q in range(n - 1)]
        case "diag_one_table" | "diag_more_tables":
            sizes = (n,) if kind == "diag_one_table" else (n, n // 2)
            factors = (Factor(ws[:size], tuple(1 << q for q in range(size)), 0, False) for size in sizes)
            return [Diag(tuple(factors), -1, first, ws)]
        case _:
            k = _DENSE[kind]
            return [Dense(xs[q : q + k], ws[q : q + k], 0) for q in range(0, n - k + 1, k)]


def _coefficients(kind: str, n: int) -> Coefficients:
    """Coefficients for `_layer`: one pair, one matrix, one angle a qubit."""
    rng = np.random.default_rng(3)
    pair = (1.0, tan(_SMALL_ANGLE)) if kind in _FACTORED else (cos(_SMALL_ANGLE), sin(_SMALL_ANGLE))
    return Coefficients(
        pairs=np.array([pair]),
        batched_pairs=np.zeros((0, 2, 1)),
        matrices=_unitary(rng, 2)[np.newaxis],
        batched_matrices=np.zeros((0, 2, 2, 1), complex),
        angles=rng.uniform(-3, 3, n),
        batched_angles=np.zeros((0, 1)),
        scales=np.zeros(0),
        dense=(_unitary(rng, 2 ** _DENSE[kind]),) if kind in _DENSE else (),
    )


def _unitary(rng: np.random.Generator, size: int) -> NDArray[np.complex128]:
    matrix = rng.normal(size=(size, size)) + 1j * rng.normal(size=(size, size))
    return np.asarray(np.linalg.qr(matrix)[0], complex)
