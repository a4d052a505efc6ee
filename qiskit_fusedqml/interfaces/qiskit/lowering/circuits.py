"""Walks a `QuantumCircuit` and writes a program.

Every operation is written in one of four ways, tried in this order: by a handler (measurements, initial states,
explicit matrices, annotated operations); by its row in `GATES`; as its base gate under controls; through its
``definition``, each of whose instructions is under the operation's controls (a mask and a value).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import CircuitInstruction
from qiskit.circuit.library import UnitaryGate

from ....errors import InvalidInputError, UnsupportedInstructionError
from ....ir.channels import Channel
from ....ir.dynamic import Measure
from ....ir.gates import GATES, place
from ....ir.matrices import dense, diagonal, transpositions
from ....ir.program import MAX_DIAGONAL_QUBITS, MAX_MATRIX_QUBITS, inverted
from ....ir.slots import with_slots
from ..noise.errors import RESET
from ..tasks import Task, carry_out
from .noise import NoiseOfInstruction, channels_of, is_one_unitary
from .operations import (
    FREE,
    RAW_FEATURES,
    Operands,
    has_the_names_meaning,
    is_current,
    own_row,
    raised,
    under_controls,
    without_modifiers,
)
from .states import Amplitudes, amplitude_encoding, prepared_amplitudes
from .writer import Writer

_STATES = ("measure", "reset", "initialize", "state_preparation")
_UNITARIES = ("unitary", "hamiltonian", "permutation", "diagonal", "multiplexer", "annotated")
_CHANNELS = ("kraus", "superop", "quantum_channel", "qerror_loc", "roerror")
_FLOW = ("break_loop", "continue_loop", "if_else", "store", "switch_case", "while_loop")
_HANDLERS = {
    **{name: name for name in (*_STATES, *_UNITARIES, "box", "for_loop")},
    **dict.fromkeys(_CHANNELS, "channel"),
    **dict.fromkeys(_FLOW, "flow"),
}
"""The walker's methods that write operations of these names."""

MAX_MULTIPLEXER_QUBITS = 6
"""Wider multiplexers are written as matrices under controls, which is less work than one dense matrix."""


class AmplitudesWithoutValuesError(UnsupportedInstructionError):
    """Amplitudes are parameters; the message names the instruction and its position."""


@dataclass
class Walker(Writer):
    """Walks a circuit and what it is made of; see `Writer` for the attributes."""

    def walk(self, circuit: QuantumCircuit) -> None:
        """Write the circuit that the program is of."""
        own = Operands(tuple(range(circuit.num_qubits)), tuple(range(circuit.num_clbits)))
        carry_out(self._walk(circuit, own))

    def _walk(self, circuit: QuantumCircuit, operands: Operands) -> Task:
        """Write a circuit whose bits are the given ones of the program, under controls."""
        qubit_of = dict(zip(circuit.qubits, operands.targets, strict=True))
        clbit_of = dict(zip(circuit.clbits, operands.clbits, strict=True))
        controls = operands.controls
        phase = circuit.global_phase
        if phase != 0.0:  # as of few circuits
            self._emit(place(GATES["global_phase"], (), *controls), (phase,))
        path, standard, fuse = self._path, self._standard, self.fuse
        has_noise = self.noise is not None and controls == FREE and not (self._unitary or self._noiseless)
        path.append((0, ""))
        for position, instruction in enumerate(circuit.data):
            name = instruction.name
            path[-1] = (position, name)
            targets = tuple(map(qubit_of.__getitem__, instruction.qubits))
            row = GATES.get(name) if instruction.is_standard_gate() else None
            if has_noise and (channels := self._noise_of(instruction, targets)):
                clbits = tuple(map(clbit_of.__getitem__, instruction.clbits))
                yield self._noisy(instruction.operation, Operands(targets, clbits), channels)
            elif row is not None:
                standard(name, instruction.params if row.num_params else (), targets, controls)
                if not fuse:
                    self._cut()
            else:
                clbits = tuple(map(clbit_of.__getitem__, instruction.clbits))
                task = self._operation(instruction.operation, Operands(targets, clbits, controls))
                if task is not None:
                    yield task
        path.pop()

    def _noise_of(self, instruction: CircuitInstruction, targets: tuple[int, ...]) -> NoiseOfInstruction:
        assert self.noise is not None
        with self._at_place():
            return self.noise.of(instruction, targets)

    def _noisy(self, operation: Any, operands: Operands, channels: NoiseOfInstruction) -> Task:
        """Write an operation with its noise; what it is made of has none.

        Noise of one qubit that was measured for good is that of a delay, and left out.
        """
        before = operation.name == "measure"
        for qubits, channel in channels if before else ():
            self._channel(channel, qubits)
        self._noiseless += 1
        yield self._operation(operation, operands)
        self._noiseless -= 1
        for qubits, channel in () if before else channels:
            if len(qubits) > 1 or not self._measured >> qubits[0] & 1:
                self._channel(channel, qubits)

    def _operation(self, operation: Any, operands: Operands) -> Task | None:
        """Write any operation that is not one of Qiskit's own standard gates; what is left to do is returned."""
        name = operation.name
        if hasattr(operation, "_quantum_error"):  # its definition is made when it is asked for, and takes long
            self.channel(operation, operands)
            return None
        known = has_the_names_meaning(operation)
        if known and name in ("barrier", "delay"):
            return None
        handler = _HANDLERS.get(name) if known else None
        done = handler is not None and getattr(self, handler)(operation, operands)
        if done:
            return None if done is True else done
        row = own_row(operation, len(operands.targets))
        if row is not None:
            self._standard(name, operation.params, operands.targets, operands.controls)
            return None
        row, base, inner = under_controls(operation, operands)
        if row is not None:
            self._emit(place(row, inner.targets, *inner.controls), operation.params)
            return None
        if base is not None and self._is_bound(base):
            return self._operation(base, inner)
        return self._expand(operation, operands)

    def _is_bound(self, base: Any) -> bool:
        by_name = own_row(base, base.num_qubits) is not None or (base.name in _HANDLERS and has_the_names_meaning(base))
        return by_name or is_current(base, self._definition(base))

    def _expand(self, operation: Any, operands: Operands) -> Task | None:
        """Write an operation through its definition or, where it has none, its matrix."""
        if operation.name == RAW_FEATURES and any(getattr(param, "parameters", ()) for param in operation.params):
            self._encode(operation, operands)
            return None
        definition = self._definition(operation)
        if definition is not None:
            return self._walk(definition, operands)
        if not self._dense(self._matrix(operation), operands):
            raise self._refusal(
                f"it has no definition, and matrices are used up to {MAX_MATRIX_QUBITS} qubits, controls included"
            )
        return None

    def _definition(self, operation: Any) -> QuantumCircuit | None:
        try:
            if hasattr(operation, "definition"):
                return operation.definition
            return operation.to_circuit() if hasattr(operation, "to_circuit") else None
        except Exception as error:  # whatever the gate's author raises
            raise self._refusal(f"its definition cannot be built ({error})") from error

    def _matrix(self, operation: Any) -> NDArray[np.complex128]:
        if not hasattr(operation, "to_matrix"):
            raise self._refusal(
                "it has no row in GATES, no definition and no matrix; gates, barriers and measurements are supported"
            )
        try:
            return np.asarray(operation.to_matrix(), dtype=np.complex128)
        except Exception as error:  # unbound parameters, for one
            raise self._refusal(f"it has no definition, and its matrix cannot be computed ({error})") from error

    def _dense(self, matrix: NDArray[np.complex128], operands: Operands) -> bool:
        """Write a matrix; False if it is too large."""
        instructions = dense(matrix, operands.targets, operands.controls)
        for instruction in instructions or ():
            self._append(instruction)
        return instructions is not None

    # Handlers: True when the operation is written, False to go on as if there were none, or what is left to do.

    def measure(self, _operation: Any, operands: Operands) -> bool:
        """Record a measurement; nothing may act on the qubit any more."""
        self._require_free(operands)
        if self.noise is not None:
            with self._at_place():
                self.noise.measured(operands.targets, operands.clbits)
        self.measurements.extend(Measure(q, c) for q, c in zip(operands.targets, operands.clbits, strict=True))
        self._measured |= operands.mask
        return True

    def reset(self, _operation: Any, operands: Operands) -> bool:
        """A reset; of a qubit that still is in |0> it does nothing."""
        self._require_free(operands)
        for qubit in operands.targets:
            if self.is_mixed and not (self._fresh(1 << qubit) or self._measured >> qubit & 1):
                self._append(Channel((qubit,), RESET))
            else:
                self._renew(qubit)
        return True

    def _renew(self, qubit: int) -> None:
        if not self._fresh(1 << qubit):
            self._retire(qubit)

    def initialize(self, operation: Any, operands: Operands) -> bool:
        """A reset and an initial state."""
        self._require_free(operands)
        for qubit in operands.targets:
            self._renew(qubit)
        return self._prepare(operation, operands)

    def state_preparation(self, operation: Any, operands: Operands) -> bool:
        """An initial state if nothing has acted on the qubits, otherwise the unitary of its definition."""
        return operands.controls == FREE and self._fresh(operands.mask) and self._prepare(operation, operands)

    def unitary(self, operation: Any, operands: Operands) -> bool:
        """A matrix given by its entries."""
        if len(operands.targets) == 1 and operands.controls != FREE:
            return False  # three controlled rotations cost less than a dense matrix that includes the controls
        return self._is_dense(np.asarray(operation.params[0], dtype=np.complex128), operands)

    def channel(self, operation: Any, operands: Operands) -> bool:
        """A channel, which may be one unitary."""
        self._require_free(operands)
        if is_one_unitary(operation):
            return self._is_dense(np.asarray(operation.params[0], dtype=np.complex128), operands)
        with self._at_place():
            channels = [*channels_of(operation)]
        for channel in channels:
            self._channel(channel, *channel.on(operands.targets))
        return True

    def hamiltonian(self, operation: Any, operands: Operands) -> bool:
        """The evolution ``exp(-1j t H)`` of a dense H for a known time t."""
        if getattr(operation.params[-1], "parameters", ()):
            return False
        return self._is_dense(self._matrix(operation), operands)

    def _is_dense(self, matrix: NDArray[np.complex128], operands: Operands) -> bool:
        if not self._dense(matrix, operands):
            raise self._refusal(f"dense matrices are used up to {MAX_MATRIX_QUBITS} qubits")
        return True

    def diagonal(self, operation: Any, operands: Operands) -> bool:
        """A diagonal given by its entries."""
        instruction = diagonal(operation.params, operands.targets, operands.controls)
        if instruction is None:
            raise self._refusal(f"diagonals are used up to {MAX_DIAGONAL_QUBITS} qubits, controls included")
        self._append(instruction)
        return True

    def permutation(self, operation: Any, operands: Operands) -> bool:
        """Qubits that change places; nothing moves but addresses."""
        for i, j in transpositions([int(wanted) for wanted in operation.params[0]]):
            self._standard("swap", (), (operands.targets[i], operands.targets[j]), operands.controls)
        return True

    def multiplexer(self, operation: Any, operands: Operands) -> bool | Task:
        """Matrices on the first qubits, one for each value of the others, as qiskit-aer runs the instruction."""
        from scipy.linalg import block_diag

        if operation.definition is not None:  # Qiskit's gate of that name may have left out equal matrices
            return False
        matrices = [np.asarray(matrix, dtype=np.complex128) for matrix in operation.params]
        num_targets = len(matrices[0]).bit_length() - 1 if matrices else 0
        sizes = {(len(operands.targets), *matrix.shape) for matrix in matrices}
        if sizes != {(num_targets + len(matrices).bit_length() - 1, 1 << num_targets, 1 << num_targets)}:
            raise self._refusal("it needs a matrix on its first qubits for each value of the others")
        small = len(operands.targets) <= MAX_MULTIPLEXER_QUBITS and self._dense(block_diag(*matrices), operands)
        return small or self._multiplexed(matrices, num_targets, operands)

    def _multiplexed(self, matrices: Sequence[NDArray[np.complex128]], num_targets: int, operands: Operands) -> Task:
        targets, controls = operands.targets[:num_targets], operands.targets[num_targets:]
        for value, matrix in enumerate(matrices):
            inner = Operands((*controls, *targets), controls=operands.controls).under(len(controls), value)
            yield self._operation(UnitaryGate(matrix), inner)

    def annotated(self, operation: Any, operands: Operands) -> Task:
        """A base operation under modifiers: controls, inverse, powers."""
        base, power, operands = without_modifiers(operation, operands)
        if not float(power).is_integer():
            try:
                base, power = raised(base, power), 1.0
            except Exception as error:  # parameters without values, for one
                raise self._refusal(f"its power {power} cannot be computed ({error})") from error
        for _ in range(round(abs(power))):
            yield self._operation(base, operands) if power > 0 else self._inverse(base, operands)

    def _inverse(self, operation: Any, operands: Operands) -> Task:
        """Write the inverse of an operation: what it is made of, each inverted, the other way round."""
        start, phase, slot = len(self._instructions), self._phase, self.table.num_angles
        self._unitary += 1
        yield self._operation(operation, operands)
        self._unitary -= 1
        self.table.invert(slot)
        ends = slot + self.table.num_angles - 1
        inverses = map(inverted, reversed(self._instructions[start:]))
        self._instructions[start:] = [with_slots(each, lambda slot: ends - slot) for each in inverses]
        self._phase = 2 * phase - self._phase

    def box(self, operation: Any, operands: Operands) -> Task:
        """A block that is run as it stands."""
        yield self._walk(operation.blocks[0], operands)

    def for_loop(self, operation: Any, operands: Operands) -> Task:
        """A block for every value of an index."""
        values, index, body = operation.params
        for value in values:
            with self.table.assigned(index, value):
                yield self._walk(body, operands)

    def flow(self, _operation: Any, _operands: Operands) -> bool:
        """Anything that a classical value decides."""
        raise self._refusal(
            "values and gradients are defined for circuits without decisions (boxes and for loops are written out); "
            "only FusedSimulator and FusedSampler run it"
        )

    def _prepare(self, operation: Any, operands: Operands) -> bool:
        """Take in an initial state of qubits on which nothing has acted."""
        self.pieces.append((operands.targets, self._amplitudes(operation, operands)))
        self._prepared |= operands.mask
        return True

    def _amplitudes(self, operation: Any, operands: Operands) -> Amplitudes:
        try:
            return prepared_amplitudes(operation.params, len(operands.targets))
        except InvalidInputError as error:
            raise self._refusal(error.message) from error

    def _encode(self, operation: Any, operands: Operands) -> None:
        """Amplitudes that are parameters, at the start of their qubits."""
        if not self.encodes:
            reason = "its amplitudes are parameters without values; assign_parameters gives them values"
            raise AmplitudesWithoutValuesError(self._refusal(reason).message)
        if self.encoding is not None or operands.controls != FREE or not self._fresh(operands.mask):
            raise self._refusal(
                "amplitudes that are parameters are possible once in a circuit, at its start, where nothing has acted "
                "on their qubits"
            )
        self.encoding = amplitude_encoding(operation.params, operands.targets, self.table.parameters)
        self._prepared |= operands.mask
