"""What is timed, and how: tapes of one kind of operation, passes over a large state, and layered programs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import cos, pi, sin, tan
from typing import TypeAlias

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


@dataclass(frozen=True)
class States:
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


@dataclass(frozen=True)
class Probe:
    """A forward and a backward sweep to be timed, and their work per amplitude as the planner counts it."""

    forward: Action
    backward: Action
    work: Work


def operations_probe(kind: str, states: States) -> Probe:
    """Many operations of a kind, on every qubit in turn, in states that are one tile."""
    num_qubits = states.ket.num_qubits
    frame = Frame.folded(num_qubits, 0, states.device.cost_model.fold_bits)  # as the planner numbers rows
    layer, overlaps = _layer(kind, frame)
    factored = kind in {"ry_factored", "pauli"}
    once = sum((operation_work(op, factored=factored, undone=True) for op in layer), start=Work())
    layers = -(-_WORK // max(int(once.forward), 1))
    operations = [_moved(op, overlaps * number) for number in range(layers) for op in layer]
    tile = tuple(1 << q for q in range(num_qubits))
    tape = Tape(num_qubits, (Block(tile, tuple(operations)),), frame, overlaps * layers)
    work = Work(layers * once.forward, layers * once.backward)
    return _probe(states, tape, _coefficients(kind, num_qubits), work)


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
    return _probe(states, tape, _coefficients("ry_factored", num_qubits), work)


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


def _probe(states: States, tape: Tape, coefficients: Coefficients, work: Work) -> Probe:
    device, ket, bra = states.device, states.ket, states.bra
    return Probe(
        lambda: device.forward(tape, coefficients, ket),
        lambda: device.backward(tape, coefficients, ket, bra, per_sample=False),
        work,
    )


def _layer(kind: str, frame: Frame) -> tuple[list[Operation], int]:
    """A layer of a kind on all qubits with the overlaps that training wants, and the number of these."""
    n, xs, ws = frame.num_qubits, frame.columns, frame.duals
    table = Factor(ws, tuple(1 << q for q in range(n)), 0, False)
    half = Factor(ws[: n // 2], tuple(1 << q for q in range(n // 2)), 0, False)
    layers: dict[str, Callable[[], Iterable[Operation]]] = {
        "ry_factored": lambda: (RY(xs[q], ws[q], 0, False, 2 * q, 2) for q in range(n)),
        "ry_plain": lambda: (RY(xs[q], ws[q], 0, False, 2 * q, 2) for q in range(n)),
        "u2": lambda: (U2(xs[q], ws[q], 0, False, 3 * q) for q in range(n)),
        "pauli": lambda: (Pauli(xs[q] ^ xs[q + 1], 0, 0, (), 0, False, q) for q in range(n - 1)),
        "diag_one_table": lambda: (Diag((table,), -1, 0, ws),),
        "diag_more_tables": lambda: (Diag((table, half), -1, 0, ws),),
        "dense_2": lambda: (Dense(xs[q : q + 2], ws[q : q + 2], 0) for q in range(0, n - 1, 2)),
        "dense_3": lambda: (Dense(xs[q : q + 3], ws[q : q + 3], 0) for q in range(0, n - 2, 3)),
    }
    layer = list(layers[kind]())
    return layer, sum(operation.num_overlaps for operation in layer if not isinstance(operation, Dense))


def _moved(operation: Operation, overlaps: int) -> Operation:
    """The operation with its overlaps that much further on."""
    if isinstance(operation, RY | U2 | Pauli | Diag) and operation.overlap >= 0:
        return replace(operation, overlap=operation.overlap + overlaps)
    return operation


def _coefficients(kind: str, n: int) -> Coefficients:
    """Coefficients for `_layer`: one pair, one matrix, one angle a qubit."""
    rng = np.random.default_rng(3)
    size = {"dense_2": 4, "dense_3": 8}.get(kind)
    angle = _SMALL_ANGLE
    pair = (1.0, tan(angle)) if kind in {"ry_factored", "pauli"} else (cos(angle), sin(angle))
    return Coefficients(
        pairs=np.array([pair]),
        batched_pairs=np.zeros((0, 2, 1)),
        matrices=_unitary(rng, 2)[np.newaxis],
        batched_matrices=np.zeros((0, 2, 2, 1), complex),
        angles=rng.uniform(-3, 3, n),
        batched_angles=np.zeros((0, 1)),
        scales=np.zeros(0),
        dense=() if size is None else (_unitary(rng, size),),
    )


def _unitary(rng: np.random.Generator, size: int) -> NDArray[np.complex128]:
    matrix = rng.normal(size=(size, size)) + 1j * rng.normal(size=(size, size))
    return np.asarray(np.linalg.qr(matrix)[0], complex)
