"""Outcomes as numbers: which classical bits count, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.transpiler import TranspileLayout


@dataclass(frozen=True)
class OutcomeBits:
    """What an outcome is made of.

    As in Qiskit Machine Learning, the register "meas" counts alone where there is one. Otherwise those count, one
    after the other, into which something is measured; that of ``QuantumCircuit(2, 2)`` before ``measure_all()`` does
    not. Where every qubit of a transpiled circuit is measured into a bit of its own, the outcome is that of the qubits
    before transpilation.

    Attributes:
        registers: The names of the registers that count; none where the bits are in no register.
        clbits: The numbers of their bits in the circuit.
        places: Bit k of an outcome is bit ``places[k]`` of the registers.
    """

    registers: tuple[str, ...]
    clbits: tuple[int, ...]
    places: tuple[int, ...]

    def of_registers(self, values: NDArray[Any]) -> NDArray[Any]:
        """Outcomes for values of the registers that count."""
        return _chosen(values, self.places)

    def of_clbits(self, values: NDArray[Any]) -> NDArray[Any]:
        """Outcomes for values of all classical bits."""
        return _chosen(values, [self.clbits[place] for place in self.places])


def read_outcome_bits(circuit: QuantumCircuit, layout: TranspileLayout | None) -> OutcomeBits:
    """What outcomes of a circuit are made of; all its qubits if nothing is measured."""
    pairs = [each for each in circuit.data if each.clbits]
    written = {bit for each in pairs for bit in each.clbits}
    registers = [register for register in circuit.cregs if not written.isdisjoint(register)]
    registers = [register for register in registers if register.name == "meas"] or registers
    bits = [bit for register in registers for bit in register] if registers else circuit.clbits
    clbits = tuple(circuit.find_bit(bit).index for bit in bits) if written else tuple(range(circuit.num_qubits))
    places: Sequence[int] = range(len(clbits))
    if layout is not None and len(clbits) == circuit.num_qubits:
        place_of = {bit: place for place, bit in enumerate(bits)}
        into = [(circuit.find_bit(each.qubits[0]).index, place_of.get(each.clbits[0])) for each in pairs]
        if all(qubit == place for qubit, place in into):
            places = layout.final_index_layout(filter_ancillas=True)
    return OutcomeBits(tuple(register.name for register in registers), clbits, tuple(places))


def _chosen(values: NDArray[Any], bits: Sequence[int]) -> NDArray[Any]:
    """For each value the number made of some of its bits."""
    result = np.zeros_like(values)
    for place, bit in enumerate(bits):
        result |= (values >> bit & 1) << place
    return result
