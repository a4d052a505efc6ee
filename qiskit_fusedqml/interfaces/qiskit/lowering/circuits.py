"""Walks a `QuantumCircuit` and writes a program.

Every operation is written in one of four ways, tried in this order: by a handler (measurements, initial states,
explicit matrices, annotated operations); by its row in `GATES`; as its base gate under controls; through its
``definition``, each of whose instructions is under the operation's controls (a mask and a value).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit.library import UnitaryGate
from scipy.linalg import block_diag

from ....errors import InvalidInputError, UnsupportedInstructionError
from ....ir.dynamic import Measure
from ....ir.encoding import AmplitudeEncoding
from ....ir.gates import GATES, PlacedFactor, place
from ....ir.program import (
    MAX_DIAGONAL_QUBITS,
    MAX_MATRIX_QUBITS,
    MAX_QUBITS,
    Diagonal,
    Instruction,
    Matrix,
    Program,
    Rotation,
    inverted,
    support,
)
from ....ir.qubits import Piece, renumbered
from .expressions import AngleTable
from .matrices import dense, diagonal, transpositions
from .operations import (
    FREE,
    RAW_FEATURES,
    Controls,
    Operands,
    has_the_names_meaning,
    is_current,
    own_row,
    placed,
    raised,
    under_controls,
    without_modifiers,
)
from .states import Amplitudes, amplitude_encoding, prepared_amplitudes

_HANDLERS = {
    "measure": "measure",
    "reset": "reset",
    "initialize": "initialize",
    "state_preparation": "state_preparation",
    "unitary": "unitary",
    "hamiltonian": "hamiltonian",
    "permutation": "permutation",
    "diagonal": "diagonal",
    "multiplexer": "multiplexer",
    "annotated": "annotated",
    "box": "box",
    "for_loop": "for_loop",
    **dict.fromkeys(("break_loop", "continue_loop", "if_else", "store", "switch_case", "while_loop"), "flow"),
}
"""The walker's methods that write operations of these names."""


class AmplitudesWithoutValuesError(UnsupportedInstructionError):
    """Amplitudes are parameters; the message names the instruction and its position."""


@dataclass
class Walker:
    """Writes the instructions of one program, on all qubits of the circuit.

    Attributes:
        num_qubits: Number of the circuit's qubits.
        table: Where the angles go.
        encodes: Whether amplitudes may be parameters.
        encoding: Amplitudes that are parameters, if there are any.
        measurements: The measurements met; qubit -1 stands for one that was in |0>.
        pieces: The initial states, by qubits.
        num_resets: How many qubits were reset after something had acted on them; these are numbered from `num_qubits`.
    """

    num_qubits: int
    table: AngleTable
    encodes: bool = False
    encoding: AmplitudeEncoding | None = None
    measurements: list[Measure] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    num_resets: int = 0
    _prepared: int = 0  # mask of the qubits that have an initial state
    _acted: int = 0  # mask of those that an instruction acts on
    _instructions: list[Instruction] = field(default_factory=list)
    _phase: float = 0.0
    _measured: int = 0
    _cuts: list[int] = field(default_factory=list)
    _path: list[tuple[int, str]] = field(default_factory=list)
    _unitary: int = 0  # depth of what is being inverted, where nothing but unitaries is possible

    @property
    def active(self) -> int:
        """Mask of the qubits that are not in |0>."""
        return self._acted | self._prepared

    def program(self, num_angles: int) -> Program:
        """The program written so far, from |0...0>."""
        instructions = self._instructions
        phase = math.remainder(self._phase, 2 * math.pi)
        if phase:
            slot, theta = self.table.lifted(-2 * phase)
            instructions = [*instructions, Rotation(0, 0, 0, 0, slot, theta)]
        return Program(self.num_qubits, num_angles, tuple(instructions), cuts=tuple(self._cuts))

    def walk(self, circuit: QuantumCircuit, operands: Operands) -> None:
        """Write a circuit whose bits are the given ones of the program, under controls."""
        qubit_of = dict(zip(circuit.qubits, operands.targets, strict=True))
        clbit_of = dict(zip(circuit.clbits, operands.clbits, strict=True))
        controls = operands.controls
        self._emit(place(GATES["global_phase"], (), *controls), (circuit.global_phase,))
        path, standard = self._path, self._standard
        path.append((0, ""))
        for position, instruction in enumerate(circuit.data):
            name = instruction.name
            path[-1] = (position, name)
            targets = tuple([qubit_of[bit] for bit in instruction.qubits])
            row = GATES.get(name) if instruction.is_standard_gate() else None
            if row is not None:
                standard(name, instruction.params if row.num_params else (), targets, controls)
            else:
                clbits = tuple(clbit_of[bit] for bit in instruction.clbits)
                self._operation(instruction.operation, Operands(targets, clbits, controls))
        path.pop()

    def _standard(self, name: str, params: Sequence[Any], targets: tuple[int, ...], controls: Controls) -> None:
        self._emit(placed(name, targets, controls), params)

    def _emit(self, factors: Sequence[Rotation | PlacedFactor], params: Sequence[Any]) -> None:
        for factor in factors:
            rotation = factor if isinstance(factor, Rotation) else self._rotation(factor, params)
            x, z, ctrl_mask, _, slot, theta = rotation
            touched = x | z | ctrl_mask
            if slot < 0 and (not touched or not theta):
                self._phase -= theta / 2
                continue
            if touched & self._measured:
                raise self._after_measurement(touched)
            self._acted |= touched
            self._instructions.append(rotation)

    def _rotation(self, factor: PlacedFactor, params: Sequence[Any]) -> Rotation:
        x, z, ctrl_mask, ctrl_value, coefficients, constant = factor
        try:
            slot, theta = self.table.add(coefficients, constant, params)
        except InvalidInputError as error:
            where = f"the angle of {self._where()}" if self._path else "the global phase"
            raise InvalidInputError(f"Cannot read {where}: {error.message}") from error
        if slot < 0 and (x | z | ctrl_mask):
            slot, theta = self.table.lifted(theta)
        return Rotation(x, z, ctrl_mask, ctrl_value, slot, theta)

    def _operation(self, operation: Any, operands: Operands) -> None:
        """Write any operation that is not one of Qiskit's own standard gates."""
        name = operation.name
        known = has_the_names_meaning(operation)
        if known and name in ("barrier", "delay"):
            return
        handler = _HANDLERS.get(name) if known else None
        if handler is not None and getattr(self, handler)(operation, operands):
            return
        row = own_row(operation, len(operands.targets))
        if row is not None:
            self._standard(name, operation.params, operands.targets, operands.controls)
        elif not self._controlled(operation, operands):
            self._expand(operation, operands)

    def _controlled(self, operation: Any, operands: Operands) -> bool:
        """Write a gate as its base gate under controls; False where its definition has to be taken."""
        row, base, inner = under_controls(operation, operands)
        if row is not None:
            self._emit(place(row, inner.targets, *inner.controls), operation.params)
        elif base is not None and self._is_bound(base):
            self._operation(base, inner)
        else:
            return False
        return True

    def _is_bound(self, base: Any) -> bool:
        by_name = own_row(base, base.num_qubits) is not None or (base.name in _HANDLERS and has_the_names_meaning(base))
        return by_name or is_current(base, self._definition(base))

    def _expand(self, operation: Any, operands: Operands) -> None:
        """Write an operation through its definition or, where it has none, its matrix."""
        if operation.name == RAW_FEATURES and any(getattr(param, "parameters", ()) for param in operation.params):
            self._encode(operation, operands)
            return
        definition = self._definition(operation)
        if definition is not None:
            self.walk(definition, operands)
        elif not self._dense(self._matrix(operation), operands):
            raise self._refusal(
                f"it has no definition, and matrices are used up to {MAX_MATRIX_QUBITS} qubits, controls included"
            )

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
        instructions = dense(matrix, operands)
        for instruction in instructions or ():
            self._append(instruction)
        return instructions is not None

    def _append(self, instruction: Diagonal | Matrix) -> None:
        touched = support(instruction)
        if touched & self._measured:
            raise self._after_measurement(touched)
        self._acted |= touched
        self._instructions.append(instruction)

    def _fresh(self, qubits: int) -> bool:
        """Whether nothing has acted on these qubits, given as a mask."""
        return not self._unitary and not qubits & (self.active | self._measured)

    def _require_free(self, operands: Operands) -> None:
        if operands.controls != FREE or self._unitary:
            raise self._refusal("only unitaries can be controlled by qubits or inverted")

    def _retire(self, qubit: int) -> None:
        """Leave a qubit as it is, under a number of its own, and go on with a fresh one in its place."""
        bit, number = 1 << qubit, -1
        if self.active & bit:
            number = self.num_qubits + self.num_resets
            self.num_resets += 1

        def mask(qubits: int) -> int:
            return qubits ^ bit | 1 << number if qubits & bit else qubits

        def place(other: int) -> int:
            return number if other == qubit else other

        self._instructions = [
            renumbered(each, mask, place) if support(each) & bit else each for each in self._instructions
        ]
        self.measurements = [Measure(place(each.qubit), each.clbit) for each in self.measurements]
        self.pieces = [(tuple(map(place, qubits)), amplitudes) for qubits, amplitudes in self.pieces]
        if self.encoding is not None:
            self.encoding = replace(self.encoding, qubits=tuple(map(place, self.encoding.qubits)))
        self._acted, self._prepared = mask(self._acted), mask(self._prepared)
        self._measured &= ~bit
        if self.active.bit_count() > MAX_QUBITS:
            raise self._refusal(
                f"the circuit has {self.num_qubits} qubits and resets {self.num_resets} of them after their first use. "
                f"Exact values need a fresh qubit for each of these, {MAX_QUBITS} qubits in all at the most; "
                "FusedSimulator and FusedSampler have no such limit"
            )

    # Handlers: True when the operation is written, False to go on as if there were none.

    def measure(self, _operation: Any, operands: Operands) -> bool:
        """Record a measurement; nothing may act on the qubit any more."""
        self._require_free(operands)
        self.measurements.extend(Measure(q, c) for q, c in zip(operands.targets, operands.clbits, strict=True))
        self._measured |= operands.mask
        return True

    def reset(self, _operation: Any, operands: Operands) -> bool:
        """A reset; of a qubit that still is in |0> it does nothing."""
        self._require_free(operands)
        for qubit in operands.targets:
            if not self._fresh(1 << qubit):
                self._retire(qubit)
        return True

    def initialize(self, operation: Any, operands: Operands) -> bool:
        """A reset and an initial state."""
        return self.reset(operation, operands) and self._prepare(operation, operands)

    def state_preparation(self, operation: Any, operands: Operands) -> bool:
        """An initial state if nothing has acted on the qubits, otherwise the unitary of its definition."""
        return operands.controls == FREE and self._fresh(operands.mask) and self._prepare(operation, operands)

    def unitary(self, operation: Any, operands: Operands) -> bool:
        """A matrix given by its entries."""
        if len(operands.targets) == 1 and operands.controls != FREE:
            return False  # three controlled rotations cost less than a dense matrix that includes the controls
        return self._is_dense(np.asarray(operation.params[0], dtype=np.complex128), operands)

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
        instruction = diagonal(operation.params, operands)
        if instruction is None:
            raise self._refusal(f"diagonals are used up to {MAX_DIAGONAL_QUBITS} qubits, controls included")
        self._append(instruction)
        return True

    def permutation(self, operation: Any, operands: Operands) -> bool:
        """Qubits that change places; nothing moves but addresses."""
        for i, j in transpositions([int(wanted) for wanted in operation.params[0]]):
            self._standard("swap", (), (operands.targets[i], operands.targets[j]), operands.controls)
        return True

    def multiplexer(self, operation: Any, operands: Operands) -> bool:
        """Matrices on the first qubits, one for each value of the others, as qiskit-aer runs the instruction."""
        if operation.definition is not None:  # Qiskit's gate of that name may have left out equal matrices
            return False
        matrices = [np.asarray(matrix, dtype=np.complex128) for matrix in operation.params]
        num_targets = len(matrices[0]).bit_length() - 1 if matrices else 0
        sizes = {(len(operands.targets), *matrix.shape) for matrix in matrices}
        if sizes != {(num_targets + len(matrices).bit_length() - 1, 1 << num_targets, 1 << num_targets)}:
            raise self._refusal("it needs a matrix on its first qubits for each value of the others")
        if len(operands.targets) <= MAX_MATRIX_QUBITS and self._dense(block_diag(*matrices), operands):
            return True
        targets, controls = operands.targets[:num_targets], operands.targets[num_targets:]
        for value, matrix in enumerate(matrices):
            inner = Operands((*controls, *targets), controls=operands.controls).under(len(controls), value)
            self._operation(UnitaryGate(matrix), inner)
        return True

    def annotated(self, operation: Any, operands: Operands) -> bool:
        """A base operation under modifiers: controls, inverse, powers."""
        base, power, operands = without_modifiers(operation, operands)
        if not float(power).is_integer():
            try:
                base, power = raised(base, power), 1.0
            except Exception as error:  # parameters without values, for one
                raise self._refusal(f"its power {power} cannot be computed ({error})") from error
        for _ in range(round(abs(power))):
            if power > 0:
                self._operation(base, operands)
            else:
                self._inverse(base, operands)
        return True

    def _inverse(self, operation: Any, operands: Operands) -> None:
        """Write the inverse of an operation: what it is made of, each inverted, the other way round."""
        start, phase, slot = len(self._instructions), self._phase, self.table.num_angles
        self._unitary += 1
        self._operation(operation, operands)
        self._unitary -= 1
        self.table.invert(slot)
        ends = slot + self.table.num_angles - 1
        self._instructions[start:] = [inverted(each, ends) for each in reversed(self._instructions[start:])]
        self._phase = 2 * phase - self._phase

    def box(self, operation: Any, operands: Operands) -> bool:
        """A block that is run as it stands."""
        self.walk(operation.blocks[0], operands)
        return True

    def for_loop(self, operation: Any, operands: Operands) -> bool:
        """A block for every value of an index."""
        values, index, body = operation.params
        for value in values:
            with self.table.assigned(index, value):
                self.walk(body, operands)
        return True

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

    def _after_measurement(self, touched: int) -> UnsupportedInstructionError:
        qubits = [str(qubit) for qubit in range(self.num_qubits) if touched & self._measured & 1 << qubit]
        return self._refusal(
            f"it acts on qubit {', '.join(qubits)} after a measurement; mid-circuit "
            "measurements have no values or gradients, and only FusedSimulator and FusedSampler run them"
        )

    def _refusal(self, reason: str) -> UnsupportedInstructionError:
        return UnsupportedInstructionError(f"Cannot run {self._where()}: {reason}.")

    def _where(self) -> str:
        """The instruction being written, from the outermost circuit inwards."""
        first, *inner = (f"instruction {position} ({name!r})" for position, name in self._path)
        return first + " of the circuit" + "".join(f", in its definition {place}" for place in inner)
