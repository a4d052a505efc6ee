"""Walks a `QuantumCircuit` and writes a program.

Every operation is handled in one of four ways, tried in this order: by its row in `GATES`; by a handler (measurements, initial
states, explicit matrices, annotated operations); as its base gate under controls; through its ``definition``. Controls are carried along
as a mask and a value, so that a controlled definition is the definition's instructions, each under the controls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import ControlModifier, InverseModifier, Parameter, PowerModifier

from ..angles import AngleMap
from ..dynamic import DynamicProgram, Measure, Segment
from ..errors import FusedQMLError, InvalidInputError, UnsupportedInstructionError
from ..gates import GATES, GateRow, PlacedFactor, place
from ..program import MAX_DIAGONAL_QUBITS, MAX_MATRIX_QUBITS, MAX_QUBITS, Diagonal, Instruction, Matrix, Program, Rotation
from .expressions import AngleTable, order_parameters
from .states import prepared_amplitudes, product_state

Controls: TypeAlias = tuple[int, int]
"""(ctrl_mask, ctrl_value) as in `Rotation`."""

_FREE: Controls = (0, 0)


@dataclass(frozen=True, eq=False)
class Lowered:
    """What a circuit means.

    Attributes:
        dynamic: The program and the measurements at its end.
        angle_map: Parameter values -> the program's angles; slot k is the k-th parametrised rotation.
        parameters: The parameters in the order of the values.
    """

    dynamic: DynamicProgram
    angle_map: AngleMap
    parameters: tuple[Parameter, ...]

    @property
    def program(self) -> Program:
        """The straight-line program before the measurements."""
        return self.dynamic.straight_line()

    @property
    def num_clbits(self) -> int:
        """Number of classical bits over all registers."""
        return self.dynamic.num_clbits

    @property
    def measurements(self) -> tuple[tuple[int, int], ...]:
        """Pairs (qubit, clbit) by ascending clbit; clbits that are never written are left out."""
        return self.dynamic.terminal_measurements()


def lower(circuit: QuantumCircuit, parameters: Sequence[Parameter] | None = None) -> Lowered:
    """Read a circuit.

    Args:
        circuit: Any circuit of gates, initial states at the start of qubits, and measurements at their end.
        parameters: The order of the parameter values; ``circuit.parameters`` by default. Holds each of them once.

    Raises:
        InvalidInputError: If the circuit is not a `QuantumCircuit` of 1 to 40 qubits, or the parameters are not the circuit's.
        UnsupportedInstructionError: If it holds an instruction that cannot be run; the message names it and its position.
    """
    if not isinstance(circuit, QuantumCircuit):
        raise InvalidInputError(f"A QuantumCircuit is expected, got {type(circuit).__name__}.")
    if not 1 <= circuit.num_qubits <= MAX_QUBITS:
        raise InvalidInputError(f"The circuit has {circuit.num_qubits} qubits; 1 to {MAX_QUBITS} are supported.")
    table = AngleTable(order_parameters(circuit.parameters, parameters))
    walker = _Walker(circuit.num_qubits, table)
    walker.walk(circuit, range(circuit.num_qubits), range(circuit.num_clbits), _FREE)
    angle_map = table.angle_map()
    program = walker.program(angle_map.num_angles)
    dynamic = DynamicProgram(circuit.num_qubits, circuit.num_clbits, (Segment(program), *walker.measurements))
    return Lowered(dynamic, angle_map, table.parameters)


@dataclass
class _Walker:
    """Writes the instructions of one program.

    Attributes:
        num_qubits: Number of qubits n.
        table: Where the angles go.
        measurements: The measurements met.
    """

    num_qubits: int
    table: AngleTable
    measurements: list[Measure] = field(default_factory=list)
    _instructions: list[Instruction] = field(default_factory=list)
    _phase: float = 0.0
    _measured: int = 0
    _prepared: int = 0
    _pieces: list[tuple[tuple[int, ...], NDArray[np.complex128]]] = field(default_factory=list)
    _placed: dict[Any, tuple[Rotation | PlacedFactor, ...]] = field(default_factory=dict)
    _path: list[tuple[int, str]] = field(default_factory=list)

    def program(self, num_angles: int) -> Program:
        """The program written so far."""
        instructions = self._instructions
        phase = math.remainder(self._phase, 2 * math.pi)
        if phase:
            instructions = [*instructions, Rotation(0, 0, theta=-2 * phase)]
        initial_state = product_state(self.num_qubits, self._pieces) if self._pieces else None
        return Program(self.num_qubits, num_angles, tuple(instructions), initial_state)

    def walk(self, circuit: QuantumCircuit, qubits: Sequence[int], clbits: Sequence[int], controls: Controls) -> None:
        """Write a circuit whose bits are the given ones of the program, under controls."""
        qubit_of = dict(zip(circuit.qubits, qubits, strict=True))
        clbit_of = dict(zip(circuit.clbits, clbits, strict=True))
        self._emit(place(GATES["global_phase"], (), *controls), (circuit.global_phase,))
        self._path.append((0, ""))
        for position, instruction in enumerate(circuit.data):
            name = instruction.name
            self._path[-1] = (position, name)
            targets = tuple([qubit_of[bit] for bit in instruction.qubits])
            row = GATES.get(name) if instruction.is_standard_gate() else None
            if row is not None:
                self._standard(name, row, instruction.params if row.num_params else (), targets, controls)
            else:
                self._operation(instruction.operation, targets, [clbit_of[bit] for bit in instruction.clbits], controls)
        self._path.pop()

    def _standard(
        self, name: str, row: GateRow, params: Sequence[Any], targets: tuple[int, ...], controls: Controls
    ) -> None:
        key = (name, targets, controls)
        factors = self._placed.get(key)
        if factors is None:
            split = row.num_ctrl
            own = _under(controls, targets[:split], (1 << split) - 1)
            factors = self._placed[key] = tuple(map(_settled, place(row, targets[split:], *own)))
        self._emit(factors, params)

    def _emit(self, factors: Sequence[Rotation | PlacedFactor], params: Sequence[Any]) -> None:
        for factor in factors:
            if type(factor) is Rotation:
                rotation = factor
            else:
                slot, theta = self.table.add(factor.coefficients, factor.constant, params)
                rotation = Rotation(factor.x, factor.z, factor.ctrl_mask, factor.ctrl_value, slot, theta)
            support = rotation.x | rotation.z | rotation.ctrl_mask
            if rotation.slot < 0 and (not support or not rotation.theta):
                self._phase -= rotation.theta / 2
                continue
            if support & self._measured:
                self._refuse_after_measurement(support)
            self._instructions.append(rotation)

    def _operation(self, operation: Any, targets: tuple[int, ...], clbits: Sequence[int], controls: Controls) -> None:
        """Write any operation that is not one of Qiskit's own standard gates."""
        name = operation.name
        own = _is_qiskits_own(operation)
        handler = _HANDLERS.get(name)
        if own and handler is not None and handler(self, operation, targets, clbits, controls):
            return
        row = GATES.get(name)
        if own and row is not None and row.num_params == len(operation.params):
            self._standard(name, row, operation.params, targets, controls)
        elif not (own and self._controlled(operation, targets, clbits, controls)):
            self._expand(operation, targets, clbits, controls)

    def _controlled(self, operation: Any, targets: tuple[int, ...], clbits: Sequence[int], controls: Controls) -> bool:
        """Write a ControlledGate as its base gate under controls; False where the two do not agree."""
        num_ctrl = getattr(operation, "num_ctrl_qubits", 0)
        base = getattr(operation, "base_gate", None)
        # v-chains with relative phases are not X under controls; others with ancillas differ on ancillas that are not clean
        if base is None or num_ctrl + base.num_qubits != len(targets) or operation.name.startswith("mcx_vchain"):
            return False
        inner = _under(controls, targets[:num_ctrl], operation.ctrl_state)
        row = GATES.get(operation.name.partition("_o")[0])
        if row is not None and row.num_ctrl == num_ctrl and row.num_params == len(operation.params):
            self._emit(place(row, targets[num_ctrl:], *inner), operation.params)
            return True
        base_row = GATES.get(base.name)
        # the base gate of a controlled CU forgets the fourth parameter
        if base_row is not None and base_row.num_params != len(base.params):
            return False
        self._operation(base, targets[num_ctrl:], clbits, inner)
        return True

    def _expand(self, operation: Any, targets: tuple[int, ...], clbits: Sequence[int], controls: Controls) -> None:
        """Write an operation through its definition or, where it has none, its matrix."""
        definition = self._definition(operation)
        if definition is not None:
            self.walk(definition, targets, clbits, controls)
        elif clbits or not self._dense(self._matrix(operation), targets, controls):
            self._refuse(f"it has no definition, and a matrix is used up to {MAX_MATRIX_QUBITS} qubits, controls included")

    def _definition(self, operation: Any) -> QuantumCircuit | None:
        try:
            if hasattr(operation, "definition"):
                return operation.definition  # type: ignore[no-any-return]
            return operation.to_circuit() if hasattr(operation, "to_circuit") else None
        except Exception as error:  # whatever a gate's author raises; it is chained and shown
            self._refuse(f"its definition cannot be built ({error})", error)

    def _matrix(self, operation: Any) -> NDArray[np.complex128]:
        if not hasattr(operation, "to_matrix"):
            self._refuse("it has neither a row in GATES nor a definition nor a matrix")
        try:
            return np.asarray(operation.to_matrix(), dtype=np.complex128)
        except Exception as error:  # unbound parameters, for one
            self._refuse(f"it has no definition, and its matrix cannot be computed ({error})", error)

    def _dense(self, matrix: NDArray[np.complex128], targets: tuple[int, ...], controls: Controls) -> bool:
        """Write a matrix; False if it is too large."""
        ctrl_qubits, value = _control_qubits(controls)
        qubits = (*targets, *ctrl_qubits)
        if not 1 <= len(qubits) <= MAX_MATRIX_QUBITS:
            return False
        full = np.eye(2 ** len(qubits), dtype=np.complex128)
        block = slice(value << len(targets), (value + 1) << len(targets))
        full[block, block] = matrix
        self._append(Matrix(qubits, full))
        return True

    def _append(self, instruction: Diagonal | Matrix) -> None:
        support = sum(1 << qubit for qubit in instruction.qubits)
        if support & self._measured:
            self._refuse_after_measurement(support)
        self._instructions.append(instruction)

    def _fresh(self, targets: Sequence[int]) -> bool:
        """Whether nothing has acted on these qubits."""
        wanted = sum(1 << qubit for qubit in targets)
        if wanted & (self._prepared | self._measured):
            return False
        return not any(_support(instruction) & wanted for instruction in self._instructions)

    # Handlers: True when the operation is written, False to go on with its definition.

    def _skip(self, operation: Any, targets: tuple[int, ...], clbits: Sequence[int], controls: Controls) -> bool:
        return True

    def _measure(self, operation: Any, targets: tuple[int, ...], clbits: Sequence[int], controls: Controls) -> bool:
        self.measurements.extend(Measure(q, c) for q, c in zip(targets, clbits, strict=True))
        self._measured |= sum(1 << qubit for qubit in targets)
        return True

    def _reset(self, operation: Any, targets: tuple[int, ...], clbits: Sequence[int], controls: Controls) -> bool:
        if not self._fresh(targets):
            self._refuse("qubits can be reset only at the start of a circuit, where nothing has acted on them")
        return True

    def _initialize(self, operation: Any, targets: tuple[int, ...], clbits: Sequence[int], controls: Controls) -> bool:
        if controls != _FREE or not self._fresh(targets):
            self._refuse(
                "initialize resets its qubits, which is possible only at the start of a circuit, where nothing has acted on them; "
                "use StatePreparation for the unitary that prepares the state from |0>"
            )
        return self._prepare(operation, targets)

    def _state_preparation(
        self, operation: Any, targets: tuple[int, ...], clbits: Sequence[int], controls: Controls
    ) -> bool:
        return controls == _FREE and self._fresh(targets) and self._prepare(operation, targets)

    def _prepare(self, operation: Any, targets: tuple[int, ...]) -> bool:
        try:
            amplitudes = prepared_amplitudes(operation.params, len(targets))
        except InvalidInputError as error:
            self._refuse(str(error), error)
        self._pieces.append((targets, amplitudes))
        self._prepared |= sum(1 << qubit for qubit in targets)
        return True

    def _unitary(self, operation: Any, targets: tuple[int, ...], clbits: Sequence[int], controls: Controls) -> bool:
        return self._dense(np.asarray(operation.params[0], dtype=np.complex128), targets, controls)

    def _diagonal(self, operation: Any, targets: tuple[int, ...], clbits: Sequence[int], controls: Controls) -> bool:
        ctrl_qubits, value = _control_qubits(controls)
        qubits = (*targets, *ctrl_qubits)
        if len(qubits) > MAX_DIAGONAL_QUBITS:
            return False
        table = np.ones(2 ** len(qubits), dtype=np.complex128)
        table[value << len(targets) : (value + 1) << len(targets)] = operation.params
        self._append(Diagonal(qubits, table))
        return True

    def _annotated(self, operation: Any, targets: tuple[int, ...], clbits: Sequence[int], controls: Controls) -> bool:
        base, power = operation.base_op, 1.0
        # modifiers commute, and each one's controls come before those of the modifiers before it
        for modifier in reversed(operation.modifiers):
            if isinstance(modifier, ControlModifier):
                controls = _under(controls, targets[: modifier.num_ctrl_qubits], modifier.ctrl_state)
                targets = targets[modifier.num_ctrl_qubits :]
            elif isinstance(modifier, InverseModifier):
                power = -power
            elif isinstance(modifier, PowerModifier):
                power *= modifier.power
            else:
                self._refuse(f"its modifier {modifier} is unknown")
        if power < 0:
            base = base.inverse()
        if float(power).is_integer():
            for _ in range(round(abs(power))):
                self._operation(base, targets, clbits, controls)
        else:
            self._operation(base.power(abs(power)), targets, clbits, controls)
        return True

    def _refuse_after_measurement(self, support: int) -> NoReturn:
        qubits = [qubit for qubit in range(self.num_qubits) if support & self._measured & 1 << qubit]
        self._refuse(
            f"it acts on qubit {', '.join(map(str, qubits))} after a measurement; measurements are supported at the end of a "
            "qubit, mid-circuit measurements are not"
        )

    def _refuse(self, reason: str, cause: Exception | None = None) -> NoReturn:
        where = ", in its definition ".join(f"instruction {position} ({name!r})" for position, name in self._path)
        raise UnsupportedInstructionError(f"Cannot run {where} of the circuit: {reason}.") from cause


_Handler: TypeAlias = Callable[[_Walker, Any, tuple[int, ...], Sequence[int], Controls], bool]

_HANDLERS: dict[str, _Handler] = {
    "barrier": _Walker._skip,
    "delay": _Walker._skip,
    "measure": _Walker._measure,
    "reset": _Walker._reset,
    "initialize": _Walker._initialize,
    "state_preparation": _Walker._state_preparation,
    "unitary": _Walker._unitary,
    "diagonal": _Walker._diagonal,
    "annotated": _Walker._annotated,
}


def _is_qiskits_own(operation: Any) -> bool:
    """Whether the name has Qiskit's meaning; the bare classes Gate and Instruction carry names chosen by users."""
    module = getattr(operation, "base_class", type(operation)).__module__
    return module.startswith("qiskit.") and module not in ("qiskit.circuit.gate", "qiskit.circuit.instruction")


def _settled(factor: PlacedFactor) -> Rotation | PlacedFactor:
    """A factor with a constant angle as the rotation it is, whatever the gate's parameters."""
    if any(factor.coefficients):
        return factor
    return Rotation(factor.x, factor.z, factor.ctrl_mask, factor.ctrl_value, theta=factor.constant)


def _under(controls: Controls, qubits: Sequence[int], ctrl_state: int) -> Controls:
    """Controls with further ones; bit j of ``ctrl_state`` belongs to ``qubits[j]``."""
    mask, value = controls
    for position, qubit in enumerate(qubits):
        mask |= 1 << qubit
        value |= (ctrl_state >> position & 1) << qubit
    return mask, value


def _control_qubits(controls: Controls) -> tuple[tuple[int, ...], int]:
    """The control qubits ascending, and their values with bit j for the j-th of them."""
    mask, value = controls
    qubits = tuple(qubit for qubit in range(mask.bit_length()) if mask >> qubit & 1)
    return qubits, sum((value >> qubit & 1) << position for position, qubit in enumerate(qubits))


def _support(instruction: Instruction) -> int:
    if isinstance(instruction, Rotation):
        return instruction.x | instruction.z | instruction.ctrl_mask
    return sum(1 << qubit for qubit in instruction.qubits)
