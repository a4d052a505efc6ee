"""Random dynamic circuits: measurements, resets, initial states, stores and control flow of every kind."""

from __future__ import annotations

from typing import Any

import numpy as np
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Parameter
from qiskit.circuit.classical import expr, types
from qiskit.circuit.random import random_circuit


def random_dynamic(rng: np.random.Generator, *, size: int = 5, depth: int = 1) -> QuantumCircuit:
    """A random circuit on 2 to 4 qubits with two classical registers and a variable, measured at its end.

    Args:
        rng: Where randomness comes from.
        size: Number of steps on each level.
        depth: How deep control flow is nested.
    """
    n = int(rng.integers(2, 5))
    first, second = ClassicalRegister(2, "first"), ClassicalRegister(int(rng.integers(1, 4)), "second")
    circuit = QuantumCircuit(QuantumRegister(n), first, second, global_phase=rng.normal())
    count = circuit.add_var("count", expr.lift(int(rng.integers(4)), types.Uint(3)))
    _Writer(rng, circuit, count).steps(size, depth, in_loop=False)
    places = rng.permutation(circuit.num_clbits)[:n]
    circuit.measure(range(len(places)), places.tolist())
    return circuit


class _Writer:
    def __init__(self, rng: np.random.Generator, circuit: QuantumCircuit, count: expr.Var) -> None:
        self.rng = rng
        self.circuit = circuit
        self.count = count
        self.num_loops = 0

    def steps(self, size: int, depth: int, *, in_loop: bool) -> None:
        """Append random steps."""
        for _ in range(size):
            kinds = [self.gates, self.gates, self.measure, self.measure, self.reset, self.initialize, self.store]
            chosen: Any = kinds[int(self.rng.integers(len(kinds)))]
            flow = [self.branch, self.loop, self.turns, self.switch]
            if depth and self.rng.random() < 0.4:
                flow[int(self.rng.integers(len(flow)))](size, depth, in_loop)
            else:
                chosen()
        if in_loop and self.rng.random() < 0.3:
            with self.circuit.if_test(self.condition()):
                self.circuit.break_loop() if self.rng.random() < 0.5 else self.circuit.continue_loop()
            self.gates()

    def qubit(self) -> int:
        return int(self.rng.integers(self.circuit.num_qubits))

    def clbit(self) -> int:
        return int(self.rng.integers(self.circuit.num_clbits))

    def gates(self) -> None:
        n = self.circuit.num_qubits
        source = random_circuit(n, 1, max_operands=3, seed=int(self.rng.integers(2**31)))
        for instruction in source.data:
            self.circuit.append(instruction.operation, [source.find_bit(qubit).index for qubit in instruction.qubits])

    def measure(self) -> None:
        self.circuit.measure(self.qubit(), self.clbit())

    def reset(self) -> None:
        self.circuit.reset(self.qubit())

    def initialize(self) -> None:
        if self.rng.random() < 0.5:
            self.circuit.initialize("".join(self.rng.choice(list("01+-rl"), 1)), [self.qubit()])
        else:
            amplitudes = self.rng.normal(size=4) + 1j * self.rng.normal(size=4)
            qubits = self.rng.permutation(self.circuit.num_qubits)[:2].tolist()
            self.circuit.initialize(amplitudes / np.linalg.norm(amplitudes), qubits)

    def store(self) -> None:
        if self.rng.random() < 0.5:
            change = expr.add if self.rng.random() < 0.5 else expr.bit_xor
            self.circuit.store(self.count, change(self.count, expr.lift(int(self.rng.integers(1, 8)), types.Uint(3))))
        else:
            self.circuit.store(self.circuit.clbits[self.clbit()], self.condition(expression=True))

    def condition(self, *, expression: bool = False) -> Any:
        """A random condition, as a pair or as an expression."""
        register = self.circuit.cregs[int(self.rng.integers(2))]
        bit = self.circuit.clbits[self.clbit()]
        match int(self.rng.integers(0 if not expression else 2, 6)):
            case 0:
                return bit, int(self.rng.integers(2))
            case 1:
                return register, int(self.rng.integers(2**register.size))
            case 2:
                return expr.logic_not(bit)
            case 3 if register.size > 1:
                return expr.less(register, int(self.rng.integers(1, 2**register.size)))
            case 4:
                return expr.logic_or(bit, expr.greater_equal(self.count, int(self.rng.integers(1, 8))))
        return expr.equal(expr.bit_and(self.count, 3), int(self.rng.integers(4)))

    def branch(self, size: int, depth: int, in_loop: bool) -> None:
        with self.circuit.if_test(self.condition()) as otherwise:
            self.steps(size // 2, depth - 1, in_loop=in_loop)
        if self.rng.random() < 0.5:
            with otherwise:
                self.steps(size // 2, depth - 1, in_loop=in_loop)

    def loop(self, size: int, depth: int, _in_loop: bool) -> None:
        self.num_loops += 1
        index = Parameter(f"k{self.num_loops}")
        with self.circuit.for_loop(range(int(self.rng.integers(1, 4))), index):
            self.circuit.ry(0.7 * index + 0.2, self.qubit())
            self.steps(size // 2, depth - 1, in_loop=True)

    def turns(self, size: int, depth: int, _in_loop: bool) -> None:
        """A while loop that comes to an end, as its counter grows."""
        self.circuit.store(self.count, expr.lift(int(self.rng.integers(4, 6)), types.Uint(3)))
        guard = self.circuit.clbits[self.clbit()]
        going = expr.logic_and(expr.less(self.count, 7), expr.logic_not(guard))
        with self.circuit.while_loop(going):
            self.circuit.store(self.count, expr.add(self.count, expr.lift(1, types.Uint(3))))
            self.measure()
            self.gates()

    def switch(self, size: int, depth: int, in_loop: bool) -> None:
        register = self.circuit.cregs[int(self.rng.integers(2))]
        target = register if self.rng.random() < 0.5 else self.count
        values = self.rng.permutation(4 if target is self.count or register.size > 1 else 2)
        with self.circuit.switch(target) as case:
            with case(*values[:2].tolist()):
                self.steps(size // 2, depth - 1, in_loop=in_loop)
            with case(case.DEFAULT):
                self.steps(size // 2, depth - 1, in_loop=in_loop)
