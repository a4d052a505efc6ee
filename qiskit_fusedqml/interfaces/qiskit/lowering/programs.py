"""`lower`: a circuit as a straight-line program on its active qubits, and the measurements at its end."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from ....errors import InvalidInputError, UnsupportedInstructionError
from ....ir.angles import AngleMap
from ....ir.dynamic import DynamicProgram, Measure, Node, Segment, final_writes
from ....ir.encoding import AmplitudeEncoding
from ....ir.measurement import Measurement
from ....ir.program import MAX_QUBITS, Program
from ....ir.qubits import ActiveQubits, bits
from ....memory import collector_paused
from .circuits import Walker
from .expressions import AngleTable, order_parameters
from .noise import has_channels, noise_writer, warn_if_unused, with_parameters
from .operations import free_parameters


@dataclass(frozen=True, eq=False)
class Lowered:
    """What a circuit means.

    Attributes:
        dynamic: The program and the measurements at its end, on the active qubits.
        angle_map: Parameter values -> the program's angles; slot k is the k-th parametrised rotation.
        parameters: The parameters in the order of the values; those of the noise come last.
        active: The circuit's qubits that the program's stand for; numbers beyond the circuit's are what a reset has
            left behind.
        encoding: Amplitudes that are parameters; the engine has to prepare them.
        constants: Constant angles that were lifted out of the program: the values (K,) of the angle map's last K
            parameters.
        measurement: Where outcomes go: to the circuit's classical bits or, if nothing is measured, qubit q to bit q.
        num_resets: Number of qubits that are reset after something has acted on them.
    """

    dynamic: DynamicProgram
    angle_map: AngleMap
    parameters: tuple[Parameter, ...]
    active: ActiveQubits
    encoding: AmplitudeEncoding | None = None
    constants: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    measurement: Measurement = field(default_factory=lambda: Measurement((), 0))
    num_resets: int = 0

    @property
    def program(self) -> Program:
        """The straight-line program before the measurements."""
        return self.dynamic.straight_line()

    def check_pure(self, what: str) -> None:
        """Refuse what is defined for pure states only.

        Raises:
            UnsupportedInstructionError: If the circuit resets qubits that something has acted on, or has noise.
        """
        is_noisy = self.program.is_noisy
        if self.num_resets or is_noisy:
            reason = "has noise" if is_noisy else f"resets {self.num_resets} qubit(s) after their first use"
            raise UnsupportedInstructionError(
                f"The circuit {reason}, which leaves a mixed state; {what} is of pure states. Values, probabilities "
                "and their gradients are available."
            )


@collector_paused()
def lower(
    circuit: QuantumCircuit,
    parameters: Sequence[Parameter] | None = None,
    *,
    encodes: bool = False,
    qubits: Sequence[int] | None = None,
    noise: Any = None,
    noise_scale: Any = 1.0,
) -> Lowered:
    """Read a circuit.

    A qubit that is reset is left as it is, and a fresh one takes its place: values and probabilities are then those of
    the mixed state, as outcomes of a qubit that nothing acts on any more do not matter to the others.

    Args:
        circuit: Any circuit of gates, resets, initial states, and measurements that are the last on their qubits or
            followed by a reset.
        parameters: The order of the parameter values; ``circuit.parameters`` by default. Holds each of them once.
        encodes: Whether the caller prepares amplitudes that are parameters (`Lowered.encoding`); else a circuit with
            such a `RawFeatureVector` is refused.
        qubits: The circuit's qubits that get amplitudes, ascending; by default those that are acted on.
        noise: A noise model as `qiskit_fusedqml.interfaces.qiskit.noise.model.read_noise` takes it, or None. Its
            parameters come after the circuit's. Resets are channels then, unless the qubit has been measured.
        noise_scale: What the noise is multiplied by: its channels are raised to that power. A number from 0 on, a
            `Parameter` or an expression of some.

    Raises:
        InvalidInputError: If it is not a `QuantumCircuit`, has no qubits or acts on more than 40 of them, or the
            parameters are not its.
        UnsupportedInstructionError: If it holds an instruction that cannot be run; the message says which and where.
    """
    check_readable(circuit)
    writer = noise_writer(noise, noise_scale)
    table = AngleTable(order_parameters(with_parameters(free_parameters(circuit), writer), parameters))
    is_mixed = has_channels(circuit) or (writer is not None and writer.model.has_errors)
    walker = Walker(circuit.num_qubits, table, encodes, noise=writer, is_mixed=is_mixed)
    circuit = circuit if writer is None else writer.prepared(circuit)
    walker.walk(circuit)
    active = ActiveQubits(bits(walker.active or 1) if qubits is None else qubits)
    if len(active) > MAX_QUBITS:
        raise InvalidInputError(
            f"The circuit acts on {len(active)} of its {circuit.num_qubits} qubits; at most {MAX_QUBITS} are supported."
        )
    angle_map = table.angle_map()
    program = active.program(walker.program(angle_map.num_angles), walker.pieces)
    encoding = walker.encoding
    if encoding is not None:
        encoding = replace(encoding, qubits=tuple(active.place[qubit] for qubit in encoding.qubits))
    warn_if_unused(writer, circuit)
    pairs, measurement = _measurement(walker, active, circuit)
    nodes: tuple[Node, ...] = (Segment(program), *itertools.starmap(Measure, pairs))
    return Lowered(
        DynamicProgram(len(active), circuit.num_clbits, nodes),
        angle_map,
        table.parameters,
        active,
        encoding,
        measurement=measurement,
        num_resets=walker.num_resets,
    )


def _measurement(
    walker: Walker, active: ActiveQubits, circuit: QuantumCircuit
) -> tuple[tuple[tuple[int, int], ...], Measurement]:
    """The measurements at the end as pairs (qubit, clbit), and where outcomes go."""
    measured = [(active.place.get(qubit), clbit) for qubit, clbit in final_writes(walker.measurements)]
    pairs = tuple((qubit, clbit) for qubit, clbit in measured if qubit is not None)  # others give 0
    if measured:
        confusions = () if walker.noise is None else tuple(walker.noise.confusions)
        return pairs, Measurement(pairs, circuit.num_clbits, confusions)
    own = tuple((k, qubit) for qubit, k in active.place.items() if qubit < circuit.num_qubits)
    return pairs, Measurement(own, circuit.num_qubits)


def check_readable(circuit: object) -> None:
    """Refuse what is no circuit, and circuits without qubits."""
    if not isinstance(circuit, QuantumCircuit):
        raise InvalidInputError(f"A QuantumCircuit is expected, got {type(circuit).__name__}.")
    if not circuit.num_qubits:
        raise InvalidInputError("The circuit has no qubits; at least 1 is needed.")
