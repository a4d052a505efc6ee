"""Circuits of the kinds that staging is judged by, written anew, and plans of them for several ranks."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector

from qiskit_fusedqml.interfaces.qiskit.lowering import lower
from qiskit_fusedqml.planner import Plan, fuse
from qiskit_fusedqml.planner.cost import CostModel

MODEL = CostModel(tile_qubits=12, lanes=8, threads=2, fold_bits=6)


def planned(circuit: QuantumCircuit, global_qubits: int, **changes: Any) -> Plan:
    """The plan of values and all gradients of diagonal observables."""
    program = lower(circuit, list(circuit.parameters)).program
    model = replace(MODEL, global_qubits=global_qubits, **changes)
    wanted = frozenset(range(program.num_angles))
    return fuse(program, model, wanted_slots=wanted, keep_phase=False, populations=True)


PAIRS = {
    "ring": lambda n: [(q, (q + 1) % n) for q in range(n)],
    "linear": lambda n: [(q, q + 1) for q in range(n - 1)],
    "brick": lambda n: [(q, q + 1) for start in (0, 1) for q in range(start, n - 1, 2)],
    "full": lambda n: list(combinations(range(n), 2)),
}


def layered(n: int, layers: int, entanglement: str) -> QuantumCircuit:
    """RX RY RZ on every qubit and CX (CZ in a ring for "cz"), so many times."""
    weights = iter(ParameterVector("w", 3 * n * layers))
    circuit = QuantumCircuit(n)
    for _ in range(layers):
        for q in range(n):
            circuit.rx(next(weights), q)
            circuit.ry(next(weights), q)
            circuit.rz(next(weights), q)
        if entanglement == "cz":
            for pair in PAIRS["ring"](n):
                circuit.cz(*pair)
        else:
            for pair in PAIRS[entanglement](n):
                circuit.cx(*pair)
    return circuit


def ising(n: int, layers: int) -> QuantumCircuit:
    """RZZ in a ring and RX, so many times."""
    weights = iter(ParameterVector("w", 2 * n * layers))
    circuit = QuantumCircuit(n)
    for _ in range(layers):
        for pair in PAIRS["ring"](n):
            circuit.rzz(next(weights), *pair)
        for q in range(n):
            circuit.rx(next(weights), q)
    return circuit


def su4(n: int, layers: int) -> QuantumCircuit:
    """Any two-qubit gate (15 rotations, 3 CX) on neighbours, in bricks."""
    weights = iter(ParameterVector("w", 15 * (n // 2) * layers))
    circuit = QuantumCircuit(n)
    for layer in range(layers):
        for a in range(layer % 2, n - 1, 2):
            _any_turns(circuit, weights, a, a + 1)
            circuit.cx(a + 1, a)
            circuit.rz(next(weights), a)
            circuit.ry(next(weights), a + 1)
            circuit.cx(a, a + 1)
            circuit.ry(next(weights), a + 1)
            circuit.cx(a + 1, a)
            _any_turns(circuit, weights, a, a + 1)
    return circuit


def _any_turns(circuit: QuantumCircuit, weights: Any, *qubits: int) -> None:
    for q in qubits:
        circuit.rz(next(weights), q)
        circuit.ry(next(weights), q)
        circuit.rz(next(weights), q)


def ghz(n: int) -> QuantumCircuit:
    circuit = QuantumCircuit(n)
    circuit.h(0)
    for q in range(n - 1):
        circuit.cx(q, q + 1)
    return circuit


def graph_state(n: int) -> QuantumCircuit:
    """H everywhere, then CZ between neighbours on a ring."""
    circuit = QuantumCircuit(n)
    circuit.h(range(n))
    for pair in PAIRS["ring"](n):
        circuit.cz(*pair)
    return circuit


def qft(n: int) -> QuantumCircuit:
    circuit = QuantumCircuit(n)
    circuit.h(range(n))
    for q in reversed(range(n)):
        circuit.h(q)
        for control in range(q):
            circuit.cp(np.pi / 2 ** (q - control), control, q)
    for q in range(n // 2):
        circuit.swap(q, n - 1 - q)
    return circuit


def qsvm(n: int) -> QuantumCircuit:
    """The overlap of two feature maps on a line: H, RZ, and CX RZ CX, and another one undone."""
    x = ParameterVector("x", 4 * n)

    def feature_map(first: int) -> QuantumCircuit:
        circuit = QuantumCircuit(n)
        circuit.h(range(n))
        for q in range(n):
            circuit.rz(x[first + q], q)
        for q in range(n - 1):
            circuit.cx(q, q + 1)
            circuit.rz(x[first + n + q], q + 1)
            circuit.cx(q, q + 1)
        return circuit

    return feature_map(0).compose(feature_map(2 * n).inverse())


def su2_random(n: int, reps: int = 3) -> QuantumCircuit:
    """RY RZ everywhere and CX between all pairs, ``reps`` times, and RY RZ."""
    weights = iter(ParameterVector("w", 2 * n * (reps + 1)))
    circuit = QuantumCircuit(n)
    for layer in range(reps + 1):
        for q in range(n):
            circuit.ry(next(weights), q)
            circuit.rz(next(weights), q)
        for pair in PAIRS["full"](n) if layer < reps else ():
            circuit.cx(*pair)
    return circuit


def vqc(n: int, layers: int = 4) -> QuantumCircuit:
    """A ZZ feature map of all pairs, then RY RZ and CX on a line."""
    circuit = QuantumCircuit(n)
    x = ParameterVector("x", n)
    for _ in range(2):
        circuit.h(range(n))
        for q in range(n):
            circuit.p(2 * x[q], q)
        for a, b in PAIRS["full"](n):
            circuit.cx(a, b)
            circuit.p(2 * x[a] + 2 * x[b], b)
            circuit.cx(a, b)
    return circuit.compose(layered(n, layers, "linear"))
