"""Reads circuits that measure, reset, save and branch as they go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias, cast

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import BreakLoopOp, ContinueLoopOp, ControlFlowOp, Parameter, Store
from qiskit.circuit.controlflow import CASE_DEFAULT
from typing_extensions import override

from ....errors import InvalidInputError, SimulationError, UnsupportedInstructionError
from ....ir import dynamic as ir
from ....ir.classical import BOOL, Apply, Constant, Expression, any_of, clbits_read
from ....ir.measurement import Confusion, Measurement
from ....ir.program import MAX_QUBITS, Program
from ....ir.qubits import ActiveQubits, read_qubits
from ....ir.simplify import simplify
from ..tasks import Task
from .circuits import Walker
from .classical import ClassicalReader, Jumps
from .expressions import AngleTable
from .noise import noise_writer, warn_if_unused, with_parameters
from .operations import Operands, free_parameters, is_straight
from .programs import Lowered, check_readable
from .states import read_save, read_set_density_matrix, read_set_statevector

_WITHOUT_CLASS = frozenset({"set_statevector", "set_density_matrix", "jump", "mark"})
"""Instructions of qiskit-aer that are known by their names; methods of these names write them."""

Nodes: TypeAlias = tuple[ir.Node, ...]

_Case: TypeAlias = tuple[Expression, Nodes]
"""A condition and what is run if it holds."""

_FLOW = (ControlFlowOp, BreakLoopOp, ContinueLoopOp, Store)


def lower_dynamic(
    circuit: QuantumCircuit,
    qubits: Sequence[int] | None = None,
    *,
    fuse: bool = True,
    lift: bool = False,
    mixed: bool = False,
    noise: Any = None,
    noise_scale: Any = 1.0,
) -> Lowered:
    """Read a circuit with measurements, resets, initial states, saves and control flow anywhere.

    Args:
        circuit: The circuit. Its parameters are `free_parameters`.
        qubits: The qubits that get amplitudes; by default those that are acted on and connected, through gates, to
            something that is measured, saved or branched on.
        fuse: If not, programs are cut after every operation of the circuit, and of the blocks of control flow.
        lift: Whether constant angles become parameters with values (`Lowered.constants`), so that circuits that differ
            in them only, as the bound copies of an ansatz do, are one program and have one plan.
        mixed: Whether states are density matrices: resets are channels, and nothing asks for amplitudes.
        noise: A noise model, as of `lower`; segments hold channels then, and measurements are misread: bits by
            themselves where they are measured (`ir.dynamic.Measure.flips`), several together at the end of all shots
            (`Lowered.measurement`).
        noise_scale: As of `lower`.

    Raises:
        InvalidInputError: If the circuit is not a `QuantumCircuit` or has no qubits.
        UnsupportedInstructionError: If it holds an instruction that cannot be run; the message says which and where.
        SimulationError: If it uses more than 40 qubits, or saves two results under one label.
    """
    check_readable(circuit)
    inputs = [var.name for var in circuit.iter_input_vars()]
    if inputs:
        raise UnsupportedInstructionError(f"Circuit {circuit.name!r} has input variables {inputs}; they have no value.")
    writer = noise_writer(noise, noise_scale)
    table = AngleTable(with_parameters(free_parameters(circuit), writer), lifts=lift)
    walker = DynamicWalker(circuit.num_qubits, table, noise=writer, fuse=fuse, is_mixed=mixed)
    circuit = circuit if writer is None else writer.prepared(circuit)
    walker.walk(circuit)
    walker.flush()
    walker.jumps.finish()
    active = ActiveQubits(read_qubits(walker.nodes, circuit.num_qubits) if qubits is None else qubits)
    if len(active) > MAX_QUBITS:
        raise SimulationError(
            f"Insufficient memory to run circuit {circuit.name!r} by its statevector of {len(active)} qubits, those of "
            f"its {circuit.num_qubits} that gates act on or whose state is saved. Required memory: "
            f"{2 ** (len(active) - 16)}M; no machine is asked for more than {MAX_QUBITS} qubits."
        )
    warn_if_unused(writer, circuit)
    angle_map = table.angle_map()
    nodes = simplify(active.nodes(walker.nodes, circuit.num_qubits))
    dynamic = ir.DynamicProgram(len(active), circuit.num_clbits, nodes, walker.reader.variables)
    constants = np.array(table.constants, dtype=np.float64)
    together = () if writer is None else writer.together
    _check_unread(together, nodes)
    measurement = Measurement((), circuit.num_clbits, together)
    return Lowered(dynamic, angle_map, table.parameters, active, constants=constants, measurement=measurement)


def _check_unread(together: Sequence[Confusion], nodes: Sequence[ir.Node]) -> None:
    """Refuse that bits which are misread together, at the end of all shots, decide anything before."""
    misread = {clbit for each in together for clbit in each.clbits}
    for node in ir.walk(nodes) if misread else ():
        match node:
            case ir.Assign(_, value) | ir.Branch(value) | ir.While(value) if not misread.isdisjoint(clbits_read(value)):
                raise UnsupportedInstructionError(
                    f"The classical bits {sorted(misread)} are misread together and decide what is run afterwards; "
                    "only bits that are misread by themselves can."
                )


@dataclass
class DynamicWalker(Walker):
    """Writes the nodes of a dynamic program; gates gather until something else comes."""

    nodes: list[ir.Node] = field(default_factory=list)
    reader: ClassicalReader = field(default_factory=ClassicalReader)
    jumps: Jumps = field(default_factory=Jumps)
    _labels: set[str] = field(default_factory=set)

    @override
    def _walk(self, circuit: QuantumCircuit, operands: Operands) -> Task:
        # conditions refer to the innermost circuit's bits or (after `compose`) to outer ones
        outer = self.reader.clbits
        self.reader.clbits = {**outer, **dict(zip(circuit.clbits, operands.clbits, strict=True))}
        yield from super()._walk(circuit, operands)
        self.reader.clbits = outer

    def flush(self) -> None:
        """End the segment."""
        if not (self._instructions or self._phase or self._prepared):
            return
        self.nodes.extend(ir.Prepare(*piece) for piece in self.pieces)
        program = self.program(0)
        if program.instructions:
            self.nodes.append(ir.Segment(program))
        self._instructions, self._phase, self._cuts = [], 0.0, []
        self._acted, self.pieces, self._prepared = self.active, [], 0

    def _operation(self, operation: Any, operands: Operands) -> Task | None:
        method = _method(operation)
        if method is not None:
            return self._written(method, operation, operands)
        task = super()._operation(operation, operands)
        return task if self.fuse else self._then_cut(task)

    def _then_cut(self, task: Task | None) -> Task:
        yield task
        self._cut()

    def _written(self, method: str, operation: Any, operands: Operands) -> Task:
        """Write a node; an error without a place gets that of the operation."""
        self._require_free(operands)
        self.flush()
        handler = getattr(self, method, None)
        if handler is None:
            raise self._refusal("this kind of control flow is not supported")
        try:
            yield from handler(operation, operands) or ()
        except (UnsupportedInstructionError, InvalidInputError) as error:
            if error.message.startswith("Cannot "):
                raise
            raise self._refusal(error.message.rstrip(".")) from error

    def _fresh(self, qubits: int) -> bool:
        return not self._depth and super()._fresh(qubits)

    def measure(self, _operation: Any, operands: Operands) -> bool:
        """A measurement."""
        self._require_free(operands)
        self.flush()
        flips: dict[int, tuple[float, float]] = {}
        if self.noise is not None:
            with self._at_place():
                self.noise.measured(operands.targets, operands.clbits)
            flips = self.noise.flips(operands.targets)
            if self._depth and len(flips) < len(operands.targets) and self.noise.together:
                raise self._refusal("qubits that are misread together cannot be measured in a block")
        for place, (qubit, clbit) in enumerate(zip(operands.targets, operands.clbits, strict=True)):
            self.nodes.append(ir.Measure(qubit, clbit, flips.get(place, ir.NEVER)))
        return True

    def reset(self, _operation: Any, operands: Operands) -> bool:
        """A reset, unless the qubit still is in |0>."""
        if self.is_mixed:
            return super().reset(_operation, operands)
        self._require_free(operands)
        if not self._fresh(operands.mask):
            self.flush()
            self.nodes.extend(map(ir.Reset, operands.targets))
        return True

    def initialize(self, operation: Any, operands: Operands) -> bool:
        """An initial state, at the start or later."""
        self._require_free(operands)
        if not self.nodes and self._fresh(operands.mask):
            return self._prepare(operation, operands)
        self.flush()
        self.nodes.append(ir.Prepare(operands.targets, self._amplitudes(operation, operands)))
        self._acted |= operands.mask
        return True

    def state_preparation(self, operation: Any, operands: Operands) -> bool:
        """See `Walker.state_preparation`; only the first segment has an initial state."""
        return not self.nodes and super().state_preparation(operation, operands)

    def save(self, operation: Any, operands: Operands) -> None:
        """A save instruction of qiskit-aer or of this package."""
        self.nodes.append(read_save(operation, operands.targets, self.num_qubits, self._labels, is_mixed=self.is_mixed))

    def set_statevector(self, operation: Any, operands: Operands) -> None:
        """Replace the state."""
        amplitudes = read_set_statevector(operation, operands.targets, self.num_qubits)
        self.nodes.append(ir.Segment(Program(self.num_qubits, 0, (), amplitudes)))
        self._acted = (1 << self.num_qubits) - 1

    def set_density_matrix(self, operation: Any, operands: Operands) -> None:
        """Replace the state by a mixed one."""
        if not self.is_mixed:
            raise SimulationError("set_density_matrix needs method='density_matrix', or 'automatic'.")
        matrix = read_set_density_matrix(operation, operands.targets, self.num_qubits)
        self.nodes.append(ir.Prepare(operands.targets, matrix))
        self._acted = (1 << self.num_qubits) - 1

    def store(self, operation: Any, _operands: Operands) -> None:
        """Write an expression's value."""
        self.nodes.append(ir.Assign(self.reader.target(operation.lvalue), self.reader.expression(operation.rvalue)))

    def if_else(self, operation: Any, operands: Operands) -> Task:
        """One of two blocks."""
        condition = self.reader.condition(operation.condition)
        body, *more = operation.blocks
        then: Nodes = yield self._block(body, operands)
        otherwise: Nodes = (yield self._block(more[0], operands)) if more else ()
        self.nodes.append(ir.Branch(condition, then, otherwise))

    def switch_case(self, operation: Any, operands: Operands) -> Task:
        """The block one of whose values is the target's: a tree of branches, decided before any block runs."""
        target = self.reader.value(operation.target)
        default: Nodes = ()
        cases: list[_Case] = []
        for labels, block in operation.cases_specifier():
            nodes: Nodes = yield self._block(block, operands)
            if CASE_DEFAULT in labels:
                default = nodes
                continue
            kind = bool if target.width == BOOL else int
            values = [Constant(kind(label), target.width) for label in labels]
            cases.append((any_of([Apply("EQUAL", (target, value), BOOL) for value in values]), nodes))
        if cases:
            default = (ir.Branch(any_of([condition for condition, _ in cases]), _one_of(cases), default),)
        self.nodes.extend(default)

    def while_loop(self, operation: Any, operands: Operands) -> Task:
        """A block as long as a condition holds."""
        condition = self.reader.condition(operation.condition)
        body: Nodes = yield self._block(operation.blocks[0], operands)
        self.nodes.append(ir.While(condition, body))

    def for_loop(self, operation: Any, operands: Operands) -> Task:
        """A block for every value of an index."""
        values, index, body = operation.params
        values = tuple(values)
        rounds: list[Nodes] = []
        if isinstance(index, Parameter) and index in body.parameters:
            if is_straight(body):  # rounds in a row are fused
                self._depth += 1
                yield from super().for_loop(operation, operands)
                self._depth -= 1
                return
            for value in values:
                with self.table.assigned(index, value):
                    rounds.append((yield self._block(body, operands)))
            self.nodes.append(ir.Repeat(tuple(rounds)))
        elif values:
            counter = None if index is None or isinstance(index, Parameter) else self.reader.expression(index)
            rounds = [(yield self._block(body, operands))] * len(values)
            self.nodes.append(ir.Repeat(tuple(rounds), counter, values if counter else ()))  # type: ignore[arg-type]

    def box(self, operation: Any, operands: Operands) -> Task:
        """A block that is run as it stands."""
        self._depth += 1
        yield from super().box(operation, operands)
        self._depth -= 1

    def break_loop(self, _operation: Any, _operands: Operands) -> None:
        """Leave the loop."""
        self.nodes.append(ir.Break())

    def continue_loop(self, _operation: Any, _operands: Operands) -> None:
        """Go on with the next round."""
        self.nodes.append(ir.Continue())

    def jump(self, operation: Any, _operands: Operands) -> None:
        """Go on at a mark further on, perhaps on a condition."""
        given = getattr(operation, "condition", None) or getattr(operation, "condition_expr", None)
        self.jumps.jump(_mark(operation), None if given is None else self.reader.condition(given), self.nodes)

    def mark(self, operation: Any, _operands: Operands) -> None:
        """A place for jumps to lead to."""
        self.jumps.mark(_mark(operation), self.nodes)

    def _block(self, body: QuantumCircuit, operands: Operands) -> Task:
        """Write a block; returns its nodes."""
        outer, self.nodes = self.nodes, []
        around, self.jumps = self.jumps, Jumps()
        self._depth += 1
        yield self._walk(body, operands)
        self.flush()
        self.jumps.finish()
        self._depth -= 1
        self._acted |= operands.mask
        written, self.nodes, self.jumps = tuple(self.nodes), outer, around
        return written


def _method(operation: Any) -> str | None:
    """The walker's method that writes a node for an operation; None for what `Walker` can read."""
    name, kind = operation.name, cast("Any", type(operation))
    if _is_flow(kind):
        return str(name)
    if name.startswith("save_") and hasattr(operation, "_subtype"):
        return "save"
    # a user's gate of that name has a definition; others are not asked for theirs, which may take a synthesis
    return name if name in _WITHOUT_CLASS and getattr(operation, "definition", None) is None else None


@lru_cache(maxsize=256)
def _is_flow(kind: type) -> bool:
    return issubclass(kind, _FLOW)


def _mark(operation: Any) -> str:
    """The mark that a jump leads to, or that is set."""
    if len(operation.params) != 1:
        raise UnsupportedInstructionError(f"it has the parameters {operation.params}; the name of a mark is expected")
    return str(operation.params[0])


def _one_of(cases: Sequence[_Case]) -> Nodes:
    """The nodes of the case that holds, as a tree of least depth."""
    if len(cases) == 1:
        return cases[0][1]
    first, second = cases[: len(cases) // 2], cases[len(cases) // 2 :]
    return (ir.Branch(any_of([condition for condition, _ in first]), _one_of(first), _one_of(second)),)
