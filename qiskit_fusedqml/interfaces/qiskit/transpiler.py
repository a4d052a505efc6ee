"""`FusionPass`, `FusedGate` and `transpile`: fusion as a transpiler pass.

The pass groups the gates of a circuit with the scheduler that plans sweeps (`qiskit_fusedqml.planner.schedule`), one
whole gate at a time, and replaces every group by a `FusedGate`. A fused gate is parametrised and has a
``definition``, so any other backend unrolls it. On `FusedSimulator` the groups are a hint: its planner moves single
rotations instead of whole gates and needs fewer sweeps, so that it plans them anew; with ``fusion_enable=False`` every
group is one step of its own. ``metadata["fusion"]["partition"]`` says which.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from qiskit import QuantumCircuit, transpile as qiskit_transpile
from qiskit.circuit import ControlFlowOp, Gate, Instruction, ParameterExpression
from qiskit.converters import circuit_to_dag, dag_to_circuit
from qiskit.dagcircuit import DAGCircuit, DAGOpNode
from qiskit.passmanager.base_tasks import Task
from qiskit.providers import Backend
from qiskit.transpiler import PassManager, Target, TransformationPass
from qiskit.transpiler.passmanager_config import PassManagerConfig
from qiskit.transpiler.preset_passmanagers.plugin import PassManagerStagePlugin, PassManagerStagePluginManager

from ...arrays import shown, whole_number
from ...errors import FusedQMLError, InvalidInputError
from ...ir.channels import Channel
from ...ir.gates import PlacedFactor
from ...ir.program import Diagonal, Instruction as ProgramInstruction, Matrix
from ...ir.qubits import bits
from ...planner.cost import CostModel
from ...planner.schedule import Item, group
from .cache import check_circuit
from .lowering import lower
from .lowering.operations import FREE, own_row, placed
from .snapshot import Snapshot, refused_if_too_deep

FUSED = "fused"
"""The one name of all fused gates; `qiskit_fusedqml.FusedSimulator`'s target holds it as a class."""

_LOCAL = frozenset({"barrier", "measure", "reset", "delay", "initialize"})
"""Instructions that are not fused and act on nothing but their own bits."""


SHOWN_PARAMETERS = 40
"""Columns of a fused gate's parameters that a drawing as text has room for; longer lists are left out."""


class _Label(str):
    """The label of a fused gate. Qiskit's text drawer adds a gate's parameters to it, however many these are."""

    __slots__ = ()

    def __add__(self, parameters: str) -> str:
        return super().__add__(parameters if len(parameters) <= SHOWN_PARAMETERS else "(...)")


class FusedGate(Gate):
    """Gates that are run together.

    ``params`` are the free parameters of the gates inside, each once and sorted by name, so that
    ``assign_parameters`` on an outer circuit binds them; ``definition`` is the circuit of the original gates with
    these values.

    Args:
        body: The gates, as a circuit without classical bits.
        params: Values or expressions for ``body.parameters`` in order; the parameters themselves by default.
        label: What drawings show; by default the number of gates.

    Raises:
        InvalidInputError: If the body has classical bits or the number of parameters is wrong.
    """

    def __init__(
        self,
        body: QuantumCircuit,
        params: Sequence[ParameterExpression | float] | None = None,
        label: str | None = None,
    ) -> None:
        check_circuit(body, "body")
        if body.num_clbits:
            raise InvalidInputError(f"The body of a fused gate has {body.num_clbits} classical bits; none are allowed.")
        self._body = Snapshot(body).circuit  # it shares no matrix with what it was made from
        free = list(body.parameters)
        values = free if params is None else list(params)
        if len(values) != len(free):
            raise InvalidInputError(f"{len(values)} parameters were given; the body has {len(free)}: {free}.")
        super().__init__(FUSED, body.num_qubits, values, label=_Label(label or f"fused {len(body)}"))

    def _define(self) -> None:
        bound = self._body.assign_parameters(dict(zip(self._body.parameters, self.params, strict=True)))
        self.definition = bound

    def validate_parameter(self, parameter: Any) -> Any:
        """Accept numbers and parameter expressions."""
        return parameter if isinstance(parameter, ParameterExpression) else float(parameter)

    def inverse(self, annotated: bool = False) -> Instruction:  # noqa: ARG002 - Qiskit's signature
        """The fused gate of the inverted gates in reverse order."""
        return FusedGate(self.unfuse().inverse())

    def unfuse(self) -> QuantumCircuit:
        """The original gates."""
        return self.definition.copy()


class FusionPass(TransformationPass):
    """Replace groups of gates by fused gates, in the blocks of control flow, too.

    Args:
        max_qubits: Largest number of qubits of a group; by default the tile of the simulator.
        min_gates: Smallest number of gates worth a group; smaller ones stay as they are.
        barriers: "keep": no group reaches over a barrier; "drop": barriers are removed.

    Raises:
        InvalidInputError: If a number is not positive, or for another word on barriers.
    """

    def __init__(self, max_qubits: int | None = None, min_gates: int = 2, barriers: str = "keep") -> None:
        super().__init__()
        if not isinstance(barriers, str) or barriers not in ("keep", "drop"):
            raise InvalidInputError(f"barriers is {shown(barriers)}; 'keep' or 'drop' is expected.")
        tile = CostModel().tile_qubits
        self.max_qubits = tile if max_qubits is None else whole_number(max_qubits, "max_qubits", least=1)
        self.min_gates = whole_number(min_gates, "min_gates", least=1)
        self.barriers = barriers

    def run(self, dag: DAGCircuit) -> DAGCircuit:
        """The circuit with fused gates; its meaning is unchanged, global phase, bits and barriers included."""
        nodes = [node for node in dag.topological_op_nodes() if self.barriers == "keep" or node.name != "barrier"]
        items = _items(dag, nodes)
        widest = max((len(item.vectors) for item in items), default=1)
        fused = dag.copy_empty_like()
        for block in group(items, dag.num_qubits() + dag.num_clbits(), max(self.max_qubits, widest)):
            members = [nodes[index] for step in block.steps for index in step]
            if len(members) < self.min_gates:
                for node in members:
                    fused.apply_operation_back(self._inside(node.op), node.qargs, node.cargs, check=False)
            else:
                gate, qubits = _fused(dag, members)
                fused.apply_operation_back(gate, qubits, (), check=False)
        return fused

    def _inside(self, operation: Any) -> Any:
        """The operation with the gates in its blocks fused."""
        if not isinstance(operation, ControlFlowOp):
            return operation
        blocks = [dag_to_circuit(self.run(circuit_to_dag(block))) for block in operation.blocks]
        return operation.replace_blocks(blocks)


def _fused(dag: DAGCircuit, members: Sequence[DAGOpNode]) -> tuple[FusedGate, list[Any]]:
    used = {qubit for node in members for qubit in node.qargs}
    qubits = [qubit for qubit in dag.qubits if qubit in used]
    position = {qubit: k for k, qubit in enumerate(qubits)}
    body = QuantumCircuit(len(qubits))
    for node in members:
        body.append(node.op, [position[qubit] for qubit in node.qargs], copy=False)
    return FusedGate(body), qubits


def _items(dag: DAGCircuit, nodes: Sequence[DAGOpNode]) -> list[Item]:
    """One item a node; classical bits follow the qubits in the masks."""
    wires = [*dag.qubits, *dag.clbits]
    position = {wire: k for k, wire in enumerate(wires)}
    n = len(wires)
    items = []
    for node in nodes:
        own = [position[qubit] for qubit in node.qargs]
        local = _generators(node.op)
        if local is None:
            touched = own + [position[clbit] for clbit in node.cargs] if node.op.name in _LOCAL else range(n)
            generators = tuple(g for wire in touched for g in (1 << wire, 1 << (wire + n)))
            items.append(Item(generators, (), alone=True))
            continue
        generators = tuple(_place(x, own) | _place(z, own) << n for x, z in local)
        items.append(Item(generators, tuple(1 << wire for wire in own)))
    return items


def _place(mask: int, positions: Sequence[int]) -> int:
    return sum(1 << positions[j] for j in bits(mask))


def _generators(operation: Instruction) -> tuple[tuple[int, int], ...] | None:
    """Masks (x, z) of the Pauli strings that generate a gate on its own qubits; None for what is not a gate.

    Those of a standard gate depend neither on its angles nor on its control state.
    """
    if operation.name in _LOCAL or not isinstance(operation, Gate):
        return None
    row = own_row(operation, operation.num_qubits)
    if row is not None:
        return _pauli_strings(placed(operation.name, tuple(range(row.num_qubits)), FREE).factors)
    circuit = QuantumCircuit(operation.num_qubits)
    circuit.append(operation, range(operation.num_qubits))
    try:
        program = lower(circuit, qubits=range(operation.num_qubits)).program
    except FusedQMLError:
        return None
    return _pauli_strings(program.instructions) if program.initial_state is None else None


def _pauli_strings(instructions: Iterable[ProgramInstruction | PlacedFactor]) -> tuple[tuple[int, int], ...]:
    """The distinct masks (x, z) of what instructions are exponentials of, the projectors of their controls included."""
    strings: dict[tuple[int, int], None] = {}
    for instruction in instructions:
        if isinstance(instruction, (Diagonal, Matrix, Channel)):
            strings.update(((0, 1 << q), None) for q in instruction.qubits)
            if not isinstance(instruction, Diagonal):
                strings.update(((1 << q, 0), None) for q in instruction.qubits)
        else:
            strings.update({(instruction.x, instruction.z): None})
            strings.update(((0, 1 << q), None) for q in bits(instruction.ctrl_mask))
    strings.pop((0, 0), None)
    return tuple(strings)


class FusionOptimizationPlugin(PassManagerStagePlugin):
    """``transpile(..., optimization_method="fused")``: Qiskit's own optimization stage, then `FusionPass`."""

    def pass_manager(
        self, pass_manager_config: PassManagerConfig, optimization_level: int | None = None
    ) -> PassManager:
        """The stage for one optimization level."""
        stages = PassManagerStagePluginManager()
        stock = stages.get_passmanager_stage("optimization", "default", pass_manager_config, optimization_level)
        manager = PassManager() if stock is None else stock
        manager.append(FusionPass())
        return manager


def transpile(
    circuits: QuantumCircuit | Iterable[QuantumCircuit],
    backend: Any = None,
    *,
    passes: Iterable[Task | type[Task]] = (),
    **options: Any,
) -> QuantumCircuit | list[QuantumCircuit]:
    """`qiskit.transpile` followed by passes of one's own.

    Args:
        circuits: A circuit, or a list of several.
        backend: As for `qiskit.transpile`.
        passes: Passes, as instances or as classes that need no arguments: ``passes=[FusionPass]``.
        **options: Everything else `qiskit.transpile` takes.

    Returns:
        A circuit, or a list for several.

    Raises:
        InvalidInputError: For circuits, a backend or passes that are something else, and circuits nested too deeply.
    """
    if not isinstance(passes, Iterable):
        raise InvalidInputError(f"passes is {shown(passes)}; a list is expected: passes=[FusionPass].")
    tasks = [task() if isinstance(task, type) else task for task in passes]
    for task in tasks:
        if not isinstance(task, Task):
            raise InvalidInputError(f"passes holds {shown(task)}, which is not a transpiler pass.")
    if backend is not None and not isinstance(backend, (Backend, Target)):
        raise InvalidInputError(f"backend is {shown(backend)}; a backend, a Target or None is expected.")
    for circuit in circuits if isinstance(circuits, list) else [circuits]:
        check_circuit(circuit)
    with refused_if_too_deep("A circuit cannot be transpiled"):
        result = qiskit_transpile(circuits, backend, **options)
        if not tasks:
            return result
        manager = PassManager(tasks)
        return [_run(manager, c) for c in result] if isinstance(result, list) else _run(manager, result)


def _run(manager: PassManager, circuit: QuantumCircuit) -> QuantumCircuit:
    """Run the passes; they work on physical qubits, so the circuit's layout stays what it is."""
    fused = manager.run(circuit)
    if fused.layout is None:
        fused._layout = circuit.layout  # noqa: SLF001 - Qiskit has no public way to set it
    return fused
