"""Walks a `QuantumCircuit` and writes a program.

Every operation is written in one of four ways, tried in this order: by a handler (measurements, initial states,
explicit matrices, annotated operations); by its row in `GATES`; as its base gate under controls; through its
``definition``, each of whose instructions is under the operation's controls (a mask and a value).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from ....errors import InvalidInputError, UnsupportedInstructionError
from ....ir.angles import AngleMap
from ....ir.dynamic import DynamicProgram, Measure, Segment
from ....ir.encoding import AmplitudeEncoding
from ....ir.gates import GATES, PlacedFactor, place
from ....ir.measurement import Measurement
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
)
from ....memory import collector_paused
from .expressions import AngleTable, order_parameters
from .matrices import dense, diagonal, transpositions
from .operations import (
    FREE,
    RAW_FEATURES,
    Controls,
    Operands,
    free_parameters,
    has_the_names_meaning,
    is_current,
    own_row,
    placed,
    raised,
    support,
    under_controls,
    without_modifiers,
)
from .states import Amplitudes, amplitude_encoding, prepared_amplitudes, product_state

_HANDLERS = {
    "measure": "measure",
    "reset": "reset",
    "initialize": "initialize",
    "state_preparation": "state_preparation",
    "unitary": "unitary",
    "hamiltonian": "hamiltonian",
    "permutation": "permutation",
    "diagonal": "diagonal",
    "annotated": "annotated",
    "box": "box",
    "for_loop": "for_loop",
    **dict.fromkeys(("break_loop", "continue_loop", "if_else", "store", "switch_case", "while_loop"), "flow"),
}
"""The walker's methods that write operations of these names."""


@dataclass(frozen=True, eq=False)
class Lowered:
    """What a circuit means.

    Attributes:
        dynamic: The program and the measurements at its end.
        angle_map: Parameter values -> the program's angles; slot k is the k-th parametrised rotation.
        parameters: The parameters in the order of the values.
        encoding: Amplitudes that are parameters; the engine has to prepare them.
        constants: Constant angles that were lifted out of the program: the values (K,) of the angle map's last K
            parameters.
    """

    dynamic: DynamicProgram
    angle_map: AngleMap
    parameters: tuple[Parameter, ...]
    encoding: AmplitudeEncoding | None = None
    constants: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @property
    def program(self) -> Program:
        """The straight-line program before the measurements."""
        return self.dynamic.straight_line()

    @property
    def measurements(self) -> tuple[tuple[int, int], ...]:
        """Pairs (qubit, clbit) by ascending clbit; clbits that are never written are left out."""
        return self.dynamic.terminal_measurements()

    @property
    def measurement(self) -> Measurement | None:
        """The measurements and the number of classical bits over all registers; None if nothing is measured."""
        pairs = self.measurements
        return Measurement(pairs, self.dynamic.num_clbits) if pairs else None


@collector_paused()
def lower(circuit: QuantumCircuit, parameters: Sequence[Parameter] | None = None, *, encodes: bool = False) -> Lowered:
    """Read a circuit.

    Args:
        circuit: Any circuit of gates, initial states at the start of qubits, and measurements at their end.
        parameters: The order of the parameter values; ``circuit.parameters`` by default. Holds each of them once.
        encodes: Whether the caller prepares amplitudes that are parameters (`Lowered.encoding`); else a circuit with
            such a `RawFeatureVector` is refused.

    Raises:
        InvalidInputError: If the circuit is not a `QuantumCircuit` of 1 to 40 qubits, or the parameters are not its.
        UnsupportedInstructionError: If it holds an instruction that cannot be run; the message says which and where.
    """
    if not isinstance(circuit, QuantumCircuit):
        raise InvalidInputError(f"A QuantumCircuit is expected, got {type(circuit).__name__}.")
    if not 1 <= circuit.num_qubits <= MAX_QUBITS:
        raise InvalidInputError(f"The circuit has {circuit.num_qubits} qubits; 1 to {MAX_QUBITS} are supported.")
    table = AngleTable(order_parameters(free_parameters(circuit), parameters))
    walker = Walker(circuit.num_qubits, table, encodes)
    walker.walk(circuit, Operands(tuple(range(circuit.num_qubits)), tuple(range(circuit.num_clbits))))
    angle_map = table.angle_map()
    program = walker.program(angle_map.num_angles)
    dynamic = DynamicProgram(circuit.num_qubits, circuit.num_clbits, (Segment(program), *walker.measurements))
    return Lowered(dynamic, angle_map, table.parameters, walker.encoding)


@dataclass
class Walker:
    """Writes the instructions of one program.

    Attributes:
        num_qubits: Number of qubits n.
        table: Where the angles go.
        encodes: Whether amplitudes may be parameters.
        encoding: Amplitudes that are parameters, if there are any.
        measurements: The measurements met.
    """

    num_qubits: int
    table: AngleTable
    encodes: bool = False
    encoding: AmplitudeEncoding | None = None
    measurements: list[Measure] = field(default_factory=list)
    _pieces: list[tuple[tuple[int, ...], Amplitudes]] = field(default_factory=list)  # initial states, by qubits
    _prepared: int = 0  # mask of the qubits that have an initial state
    _instructions: list[Instruction] = field(default_factory=list)
    _phase: float = 0.0
    _measured: int = 0
    _cuts: list[int] = field(default_factory=list)
    _path: list[tuple[int, str]] = field(default_factory=list)
    _unitary: int = 0  # depth of what is being inverted, where nothing but unitaries is possible

    def program(self, num_angles: int) -> Program:
        """The program written so far."""
        instructions = self._instructions
        phase = math.remainder(self._phase, 2 * math.pi)
        if phase:
            slot, theta = self.table.lifted(-2 * phase)
            instructions = [*instructions, Rotation(0, 0, 0, 0, slot, theta)]
        start = product_state(self.num_qubits, self._pieces) if self._pieces else None
        return Program(self.num_qubits, num_angles, tuple(instructions), start, tuple(self._cuts))

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
        self._instructions.append(instruction)

    def _fresh(self, qubits: int) -> bool:
        """Whether nothing has acted on these qubits, given as a mask."""
        taken = qubits & (self._prepared | self._measured)
        return (
            not self._unitary
            and not taken
            and not any(support(instruction) & qubits for instruction in self._instructions)
        )

    def _require_free(self, operands: Operands) -> None:
        if operands.controls != FREE or self._unitary:
            raise self._refusal("only unitaries can be controlled by qubits or inverted")

    # Handlers: True when the operation is written, False to go on as if there were none.

    def measure(self, _operation: Any, operands: Operands) -> bool:
        """Record a measurement; nothing may act on the qubit any more."""
        self._require_free(operands)
        self.measurements.extend(Measure(q, c) for q, c in zip(operands.targets, operands.clbits, strict=True))
        self._measured |= operands.mask
        return True

    def reset(self, _operation: Any, operands: Operands) -> bool:
        """A reset of qubits that are still in |0> does nothing."""
        self._require_free(operands)
        if not self._fresh(operands.mask):
            raise self._refusal("qubits can be reset only at the start of a circuit, where nothing has acted on them")
        return True

    def initialize(self, operation: Any, operands: Operands) -> bool:
        """An initial state."""
        if operands.controls != FREE or not self._fresh(operands.mask):
            raise self._refusal(
                "initialize resets its qubits, which is possible only at the start of a circuit, where nothing has "
                "acted on them; use StatePreparation for the unitary that prepares the state from |0>"
            )
        return self._prepare(operation, operands)

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
        self._pieces.append((operands.targets, self._amplitudes(operation, operands)))
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
            raise self._refusal("its amplitudes are parameters without values; assign_parameters gives them values")
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
