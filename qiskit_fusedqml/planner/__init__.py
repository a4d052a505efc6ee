"""`fuse`: from a Program to a Plan. Pure: no amplitude is touched and no parameter value is known.

Four steps, one module each:

1. `collector.collect` walks the program, takes networks of CX, X and SWAP into a frame, collects single-qubit gates in
rotation sequences, and yields one window of a deep circuit after the other; none reaches over a cut of the program;
2. `schedule.levels` orders the elements so that the diagonals of a layer meet;
3. `schedule.group` cuts the order into blocks whose flips fit one tile, of a state over several ranks within the stages
that `stages.stage_groups` cuts first;
4. `emit.Emitter` writes the tape and the tables of its coefficients.

`steps` takes them in Python, `compiled` in compiled code where the module has been built; the plans are the same. Of a
program whose gates are all real (`realness`) the tape is, too, for devices that keep real states as such.
"""

from __future__ import annotations

from ..ir.program import MAX_MATRIX_QUBITS, Matrix, Program
from .compiled import CompiledSteps
from .cost import CostModel
from .frame import Frame
from .plan import Plan
from .realness import is_real
from .stages import check_ranks
from .steps import PythonSteps, Task

__all__ = ["Plan", "fuse"]

ORDERING_GAIN = 0.05
"""The share of a plan's arithmetic that another order of operations may save: the first one found is not the best."""

SMALLEST_SUPPORT = 6
"""Dimensions that the ket's support may be kept to: tiles on fewer take no less."""

PLANNING_COST = 25_000
"""Multiply-adds a sweep must save for each instruction that is planned again: a tenth of what planning it takes."""


def fuse(
    program: Program,
    cost_model: CostModel,
    *,
    batched_slots: frozenset[int] = frozenset(),
    wanted_slots: frozenset[int] = frozenset(),
    batch: int = 1,
    keep_phase: bool = True,
    populations: bool = False,
    any_start: bool = False,
    start: Frame | None = None,
) -> Plan:
    """Plan a program for a device.

    Args:
        program: A valid program.
        cost_model: The device's numbers.
        batched_slots: Slots whose angles differ from sample to sample.
        wanted_slots: Slots whose gradients are wanted.
        batch: Number of samples; only whether it fills the device's lanes and threads matters.
        keep_phase: False when the global phase does not matter (expectation values and probabilities).
        populations: Whether only the absolute values of the final amplitudes matter (probabilities, diagonal
            observables), so that diagonal gates at the end can be left out.
        any_start: Whether amplitudes that the program does not hold may be the start.
        start: The frame of the states that the tape is applied to, where another tape ended in it; None for the
            beginning.

    Returns:
        The plan; it depends on nothing but the arguments.

    Raises:
        UnsupportedInstructionError: If the program has channels.
        InvalidInputError: If the state cannot be divided among so many ranks.
    """
    if program.is_noisy:
        program.check_pure("a plan for amplitudes")
    n = program.num_qubits
    known_start = start is None and not any_start
    real = cost_model.real_states and known_start and is_real(program, keep_phase=keep_phase)
    if real:
        cost_model = cost_model.of_real_states
    spread, tile_limit = _layout(program, cost_model, batch)
    # a few samples without gradients are often run once, and planning a small circuit takes longer than that
    once = bool(spread) and not wanted_slots
    # |0...0> has physical index 0 in every linear frame; amplitudes are given in the identity frame, and ranks fold
    # their own parts
    from_zero = program.initial_state is None and not any_start
    is_folded = from_zero and not cost_model.global_qubits
    first = Frame.folded(n, spread, cost_model.fold_bits) if is_folded else Frame.identity(n)
    grows = from_zero and start is None
    supports = _supports(n, spread) if grows and not (once and tile_limit >= n) else ()
    task = Task(
        program,
        cost_model,
        sorted(batched_slots),
        wanted_slots,
        start or first,
        tile_limit,
        spread,
        keep_phase,
        populations,
        grows,
        supports,
        real,
    )
    steps = CompiledSteps(task) if CompiledSteps.can_plan(task) else PythonSteps(task)
    by_angles = steps.plan(euler=True)
    if not _matrices_may_gain(by_angles, once=once):
        return by_angles
    return min(by_angles, steps.plan(euler=False), key=lambda p: p.cost)


def _matrices_may_gain(plan: Plan, *, once: bool) -> bool:
    """Whether a plan with matrices instead of Euler angles can save more than it takes to make.

    Args:
        plan: The one by angles.
        once: Whether it is likely to be run once.
    """
    if not plan.tables.num_sequences:
        return False
    gain = plan.gain_of_matrices + ORDERING_GAIN * plan.arithmetic_cost
    if gain <= 0:  # as for most deep circuits, which take long to plan
        return False
    program = plan.program
    return not once or gain * 2**program.num_qubits >= PLANNING_COST * len(program.instructions)


def _layout(program: Program, cost_model: CostModel, batch: int) -> tuple[int, int]:
    """How many dimensions every tile leaves to lanes, and the most that a tile has."""
    n, num_global = program.num_qubits, cost_model.global_qubits
    widest = 1
    if Matrix in set(map(type, program.instructions)):
        widest = max(len(i.qubits) for i in program.instructions if isinstance(i, Matrix))
    if num_global:
        check_ranks(n, num_global, widest)
    spread = min(cost_model.lane_qubits(n, batch), max(n - num_global - min(widest, MAX_MATRIX_QUBITS), 0))
    return spread, max(cost_model.tile_limit(n, spread, batch), widest)


def _supports(n: int, spread: int) -> tuple[int, ...]:
    """Dimensions that the ket's support keeps to while it can, see `schedule.group`.

    With n - 3, what is done first takes an eighth of the work. Lanes that hold amplitudes of one sample add to the
    support of the first blocks, so that these keep to less.
    """
    return tuple([k for k in dict.fromkeys((n - 3 - spread, n - 3)) if k >= SMALLEST_SUPPORT])
