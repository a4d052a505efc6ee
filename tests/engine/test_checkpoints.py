"""Tapes in pieces, and states kept on the way: every operation once, the same gradients, no error carried on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from support.emulation.runtime import EmulatedRuntime
from support.programs import ProgramSampler, layered

from qiskit_fusedqml.devices.coefficients import CompiledCoefficientMap
from qiskit_fusedqml.devices.cpu import CPUDevice
from qiskit_fusedqml.devices.gpu.device import GPUDevice
from qiskit_fusedqml.devices.reference import ReferenceDevice
from qiskit_fusedqml.engine import memory as budget
from qiskit_fusedqml.engine.basis_columns import BasisColumnSweeps
from qiskit_fusedqml.engine.options import EngineOptions
from qiskit_fusedqml.engine.program_function import ProgramFunction
from qiskit_fusedqml.engine.state_gradients import pull_bras, state_vjp
from qiskit_fusedqml.errors import InvalidInputError, OutOfMemoryError, UnsupportedInstructionError
from qiskit_fusedqml.interfaces.qiskit.circuit import DifferentiableCircuit
from qiskit_fusedqml.ir.angles import AngleMap
from qiskit_fusedqml.ir.observables import PauliSum, PauliTerm
from qiskit_fusedqml.ir.program import Program
from qiskit_fusedqml.planner import Plan, fuse, segments
from qiskit_fusedqml.planner.cost import CostModel
from qiskit_fusedqml.planner.segments import Segment, cut, num_places
from qiskit_fusedqml.planner.tape import Diag, Tape

N, LAYERS = 4, 6
SMALL_TILES = CostModel(tile_qubits=2, whole_qubits=0)
REFERENCE = ReferenceDevice()
ALL = frozenset(range(1000))


def plain(count: int) -> AngleMap:
    return AngleMap(count, np.zeros(count), np.arange(count), np.arange(count), np.ones(count))


def observables(n: int) -> list[PauliSum]:
    return [PauliSum(n, (PauliTerm(0.6, 0, 0b1), PauliTerm(0.4, 0b10, 0b11))), PauliSum(n, (PauliTerm(1.0, 0, 0b10),))]


def make(n: int = N, layers: int = LAYERS, *, input_gradients: bool = False, **options: Any) -> ProgramFunction:
    program = layered(n, layers)
    return ProgramFunction(
        program,
        plain(program.num_angles),
        observables(n),
        EngineOptions(**options),
        num_inputs=n,
        input_gradients=input_gradients,
    )


def data(n: int = N, layers: int = LAYERS, batch: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    return rng.uniform(-2, 2, (batch, n)), rng.uniform(-3, 3, 3 * n * layers), rng.normal(size=(batch, 2))


def operations(tape: Tape) -> list[object]:
    """All operations, without the numbers of their overlaps."""
    plain = [operation for block in tape.blocks for operation in block.operations]
    return [type(op)(**(_fields(op) | {"overlap": op.overlap >= 0})) for op in plain]


def _fields(operation: object) -> dict[str, object]:
    return {name: getattr(operation, name) for name in type(operation).__slots__}


def pieces_of(plan: Plan, count: int) -> tuple[Segment, ...]:
    return cut(plan.tape, plan.tables.pair_kinds, count)


def real(layers: int) -> Program:
    """RY and CX only: no diagonals to cut at."""
    program = layered(3, layers)
    kept = [r for r in program.instructions if r.slot < 0 or (r.x and r.z)]
    return Program(3, program.num_angles, tuple(kept))


def random_program(seed: int) -> Program:
    return ProgramSampler(np.random.default_rng(seed), 3).program(25)


@pytest.mark.parametrize("model", [SMALL_TILES, CostModel()], ids=["small tiles", "one tile"])
@pytest.mark.parametrize("count", [0, 1, 3, 1000])
def test_pieces_are_the_tape(model: CostModel, count: int) -> None:
    """All operations, once and in order; forward and backward they do what the whole tape does."""
    for seed in range(6):
        program = (layered(3, 3), real(30))[seed] if seed < 2 else random_program(seed)
        wanted = frozenset(range(seed % 3, program.num_angles))
        plan = fuse(program, model, wanted_slots=wanted)
        pieces = [segment.tape for segment in pieces_of(plan, count)]
        assert [op for piece in pieces for op in operations(piece)] == operations(plan.tape)
        assert sum(segment.kept for segment in pieces_of(plan, count)) == min(
            count, num_places(plan.tape, plan.tables.pair_kinds)
        )
        rng = np.random.default_rng(seed)
        bound = CompiledCoefficientMap(plan.tables).bind(rng.uniform(-3, 3, program.num_angles), np.empty((1, 0)))
        whole, ket = (REFERENCE.allocate(plan.tape, 1, None) for _ in range(2))
        REFERENCE.forward(plan.tape, bound.coefficients, whole)
        for piece in pieces:
            REFERENCE.forward(piece, bound.coefficients, ket)
            assert abs(np.linalg.norm(ket) - 1) < 1e-12  # a state is worth keeping where its scale is true
        np.testing.assert_allclose(ket, whole, atol=1e-12)
        bras = [np.roll(whole, 1, axis=1) for _ in range(2)]
        expected = REFERENCE.backward(plan.tape, bound.coefficients, whole, bras[0], per_sample=False)
        found = [
            REFERENCE.backward(piece, bound.coefficients, ket, bras[1], per_sample=False) for piece in reversed(pieces)
        ]
        np.testing.assert_allclose(np.concatenate(found[::-1]), expected, atol=1e-12)
        np.testing.assert_allclose(ket, whole, atol=1e-12)


def test_pieces_are_of_one_size() -> None:
    sizes = [
        len(operations(segment.tape)) for segment in pieces_of(fuse(layered(4, 40), CostModel(), wanted_slots=ALL), 3)
    ]
    assert len(sizes) == 4
    assert max(sizes) - min(sizes) <= 2 * 9  # a layer is nine operations


def test_a_deep_tape_is_cut_so_that_its_sums_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "LONGEST", 8)
    plan = fuse(layered(3, 12), CostModel(), wanted_slots=ALL)
    pieces = pieces_of(plan, 0)
    assert plan.tape.num_overlaps > 100
    assert max(piece.tape.num_overlaps for piece in pieces) <= 36
    assert not any(piece.kept for piece in pieces)
    f, g = make(checkpoint=2), make()
    x, w, cotangents = data()
    np.testing.assert_allclose(f.value_and_vjp(x, w, cotangents)[2], g.value_and_vjp(x, w, cotangents)[2], atol=1e-12)


DEVICES = {
    "reference": ReferenceDevice,
    "CPU": lambda: CPUDevice("double", 2),
    "GPU, emulated": lambda: GPUDevice(EmulatedRuntime(), "double"),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("checkpoint", [1, 4, 1000, "auto"])
def test_gradients_are_those_without_checkpoints(device: str, checkpoint: int | str) -> None:
    x, w, cotangents = data()
    options = {"input_gradients": True}
    f = make(device=DEVICES[device](), checkpoint=checkpoint, **options)
    g = make(device=ReferenceDevice(), **options)
    for ours, theirs in zip(f.value_and_vjp(x, w, cotangents), g.value_and_vjp(x, w, cotangents), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-11)
    np.testing.assert_allclose(f.jacobian(x, w), g.jacobian(x, w), atol=1e-11)  # one way forward, two ways back
    amplitudes, pullback = state_vjp(f, x, w)
    for ours, theirs in zip(pullback(1j * amplitudes), state_vjp(g, x, w)[1](1j * amplitudes), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-11)
    ours, theirs = (pull_bras(h, x, w, "weights", lambda states: iter([states] * 2), 2) for h in (f, g))
    np.testing.assert_allclose(ours, theirs, atol=1e-11)


def test_basis_columns_keep_states_too(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w, cotangents = data(2, 400, 64)
    f, g = make(2, 400, checkpoint=3), make(2, 400)
    expected = g.value_and_vjp(x, w, cotangents)
    np.testing.assert_allclose(f.value_and_vjp(x, w, cotangents)[2], expected[2], atol=1e-10)
    assert any(isinstance(made, BasisColumnSweeps) for made in f.plans.made())


class ForgetfulDevice(ReferenceDevice):
    """Undoing leaves a ket that is wrong."""

    def __init__(self) -> None:
        self.copies = 0

    def copy(self, state: np.ndarray) -> np.ndarray:
        self.copies += 1
        return super().copy(state)

    def backward(self, tape, coefficients, ket, bra, *, per_sample):
        overlaps = super().backward(tape, coefficients, ket, bra, per_sample=per_sample)
        ket *= 0.5
        return overlaps


def test_a_kept_state_takes_the_place_of_the_undone_one(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w, cotangents = data()
    expected = make().value_and_vjp(x, w, cotangents)[2]
    device = ForgetfulDevice()
    f = make(device=device, checkpoint=3)
    np.testing.assert_allclose(f.value_and_vjp(x, w, cotangents)[2], expected, atol=1e-12)
    assert device.copies == 3
    monkeypatch.setattr(segments, "LONGEST", 8)  # pieces of the same size, and nothing kept between them
    without = make(device=ForgetfulDevice()).value_and_vjp(x, w, cotangents)[2]
    assert np.abs(without - expected).max() > 0.01


def test_kept_states_count_as_states() -> None:
    state = CPUDevice("double", 1).state_bytes(N, 1) / 2**20
    x, w, cotangents = data(batch=7)
    f = make(num_threads=1, checkpoint=3, max_memory_mb=5 * state)
    parameters = f.read(x, w)
    chunks = f.memory.chunks(parameters, 2, f.plans.sweeps(f.request(parameters)))
    assert [rows.batch for rows in chunks] == [1] * 7
    np.testing.assert_allclose(
        f.value_and_vjp(x, w, cotangents)[2], make().value_and_vjp(x, w, cotangents)[2], atol=1e-12
    )
    small = make(num_threads=1, checkpoint=3, max_memory_mb=4.9 * state)
    with pytest.raises(OutOfMemoryError, match=r"5 state.*3 of them checkpoints.*fewer checkpoints"):
        small.value_and_vjp(x, w, cotangents)
    small.values(x, w)  # no way back, nothing kept


def kept(f: ProgramFunction, batch: int) -> int:
    return f.memory_estimate(batch).num_checkpoints


def test_the_rule_of_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "LONGEST", 50)
    n, deep = 8, {"checkpoint": "auto", "precision": "single", "num_threads": 1}
    state = CPUDevice("single", 1).state_bytes(n, 8) / 2**20
    assert kept(make(n, 17, checkpoint="auto"), 8) == 0  # double precision
    assert kept(make(n, 17, **deep), 8) == 3  # nine operations a layer
    assert kept(make(n, 4, **deep), 8) == 0
    # memory first goes to the batch
    assert kept(make(n, 17, max_memory_mb=2.5 * state, **deep), 8) == 0
    tight = make(n, 17, max_memory_mb=3.5 * state, **deep)
    assert kept(tight, 8) == 1
    assert tight.memory_estimate(8).rows == 8


@pytest.mark.parametrize("wrong", [-1, 2.0, True, "always"])
def test_other_checkpoints_are_refused(wrong: object) -> None:
    with pytest.raises(InvalidInputError, match=r"checkpoint is .*None, 'auto' or a number"):
        make(checkpoint=wrong)


def test_gradients_through_what_cannot_be_undone_are_refused() -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.ry(Parameter("a"), 0)
    circuit.measure(0, 0)
    circuit.ry(Parameter("b"), 0)
    with pytest.raises(UnsupportedInstructionError, match="mid-circuit"):
        DifferentiableCircuit(circuit, ["Z"], checkpoint=1)


def test_diagonals_are_the_places_within_a_block() -> None:
    plan = fuse(layered(3, 3), CostModel(), wanted_slots=ALL)
    (block,) = plan.tape.blocks
    diagonals = [k for k, operation in enumerate(block.operations) if isinstance(operation, Diag)]
    assert block.undo_from == 1  # what comes before has no gradient and is not undone
    assert num_places(plan.tape, plan.tables.pair_kinds) == sum(0 < k < diagonals[-1] for k in diagonals)
