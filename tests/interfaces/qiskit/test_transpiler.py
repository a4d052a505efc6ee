"""The pass keeps a circuit's meaning; fused gates behave as gates."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit, qpy, transpile as qiskit_transpile
from qiskit.circuit import Parameter
from qiskit.circuit.classical import expr
from qiskit.circuit.library import efficient_su2
from qiskit.circuit.random import random_circuit
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import Operator, Statevector
from qiskit.transpiler import CouplingMap, PassManager, generate_preset_pass_manager
from support.branches import distribution
from support.counting import assert_drawn_from

import qiskit_fusedqml
from qiskit_fusedqml.errors import InvalidInputError
from qiskit_fusedqml.interfaces.qiskit.backend import FusedSimulator, save
from qiskit_fusedqml.interfaces.qiskit.transpiler import FusedGate, FusionPass, transpile

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


def _difference(a: QuantumCircuit, b: QuantumCircuit) -> float:
    return float(np.abs(Operator(a).data - Operator(b).data).max())


@pytest.mark.parametrize("max_qubits", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(8))
def test_the_pass_keeps_the_unitary(seed: int, max_qubits: int) -> None:
    circuit = random_circuit(5, 8, max_operands=4, seed=seed)
    circuit.global_phase = 0.3
    fused = FusionPass(max_qubits)(circuit)
    assert _difference(fused, circuit) < 1e-9
    widest = max(instruction.operation.num_qubits for instruction in circuit.data)
    assert all(i.operation.num_qubits <= max(max_qubits, widest) for i in fused.data)


def test_a_changed_body_is_seen() -> None:
    circuit = random_circuit(3, 5, seed=1)
    fused = FusionPass(3)(circuit)
    fused.rx(1e-3, 0)
    assert _difference(fused, circuit) > 1e-6


def test_gates_are_grouped_across_the_circuit() -> None:
    circuit = efficient_su2(6, reps=3)
    fused = FusionPass(6)(circuit)
    assert fused.count_ops() == {"fused": 1}
    assert sum(FusionPass(3)(circuit).count_ops().values()) < sum(circuit.count_ops().values()) / 3


def test_blocks_of_control_flow_are_fused() -> None:
    rng = np.random.default_rng(4)
    for seed in range(6):
        circuit = QuantumCircuit(3, 3)
        inner = random_circuit(3, 3, seed=seed)
        circuit.h(range(3))
        circuit.measure(0, 0)
        with circuit.for_loop(range(2)):
            with circuit.if_test((0, 1)) as otherwise:
                circuit.compose(inner, inplace=True)
                circuit.measure(1, 1)
            with otherwise:
                circuit.ry(rng.normal(), 1)
                circuit.cx(1, 2)
                circuit.ry(rng.normal(), 2)
        circuit.measure([0, 1, 2], [0, 1, 2])
        fused = FusionPass(3)(circuit)
        (loop,) = (i.operation for i in fused.data if i.name == "for_loop")
        (branch,) = (i.operation for i in loop.blocks[0].data if i.name == "if_else")
        assert branch.blocks[1].count_ops() == {"fused": 1}
        counts = FusedSimulator(seed_simulator=seed).run(fused, shots=5000).result().get_counts()
        assert_drawn_from(counts, {f"{key:03b}": p for key, p in distribution(circuit).items()}, 5000)


def test_barriers_are_kept_or_dropped() -> None:
    circuit = QuantumCircuit(2)
    for _ in range(3):
        circuit.rx(0.3, 0)
        circuit.cx(0, 1)
        circuit.barrier()
    assert FusionPass()(circuit).count_ops() == {"fused": 3, "barrier": 3}
    dropped = FusionPass(barriers="drop")(circuit)
    assert dropped.count_ops() == {"fused": 1}
    assert _difference(dropped, circuit) < 1e-12
    with pytest.raises(InvalidInputError, match="'keep' or 'drop'"):
        FusionPass(barriers="ignore")


def test_classical_expressions_stay_where_they_are() -> None:
    circuit = QuantumCircuit(2, 2)
    flag = circuit.add_var("flag", False)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure(0, 0)
    circuit.store(flag, expr.logic_not(circuit.clbits[0]))
    with circuit.if_test(flag):
        circuit.x(1)
        circuit.h(1)
        circuit.h(1)
    circuit.measure(1, 1)
    counts = FusedSimulator(seed_simulator=1).run(FusionPass()(circuit), shots=1000).result().get_counts()
    assert set(counts) == {"10", "11"}


def test_a_state_that_aer_gets_wrong() -> None:
    """The circuit of qiskit-aer#2245: fusion there loses the X gates around a diagonal."""
    circuit = QuantumCircuit(15)
    circuit.h(0)
    circuit.cx(1, 0)
    circuit.x(0)
    circuit.s(0)
    circuit.x(0)
    expected = Statevector(circuit)
    for candidate in (circuit, FusionPass()(circuit), FusionPass(2)(circuit)):
        save(copy := candidate.copy(), "statevector")
        assert abs(expected.inner(FusedSimulator().run(copy).result().get_statevector())) == pytest.approx(1, abs=1e-12)
        assert abs(expected.inner(Statevector(candidate))) == pytest.approx(1, abs=1e-12)


def test_a_fused_circuit_reads_well() -> None:
    text = str(FusionPass(2)(efficient_su2(3, reps=1)).draw("text"))
    assert "fused" in text
    assert max(len(line) for line in text.splitlines()) < 80


def test_measurements_barriers_and_control_flow_stay_in_order() -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    circuit.rx(0.3, 1)
    circuit.ry(0.2, 1)
    circuit.barrier()
    circuit.reset(0)
    circuit.measure(1, 1)
    names = [instruction.name for instruction in FusionPass()(circuit).data]
    assert names.index("fused") < names.index("measure") < names.index("if_else")
    assert names.index("if_else") < names.index("barrier") < names.index("reset")
    assert names.count("measure") == 2


@pytest.mark.filterwarnings("ignore::UserWarning")  # Qiskit 2.0 warns about its own format
def test_fused_gates_bind_pickle_and_go_through_qpy() -> None:
    circuit = efficient_su2(4, reps=2)
    fused = FusionPass(2)(circuit)
    assert fused.parameters == circuit.parameters
    values = np.random.default_rng(0).uniform(-3, 3, circuit.num_parameters)
    expected = circuit.assign_parameters(values)
    assert _difference(fused.assign_parameters(values), expected) < 1e-12
    assert _difference(pickle.loads(pickle.dumps(fused)).assign_parameters(values), expected) < 1e-12
    stream = io.BytesIO()
    qpy.dump(fused, stream)
    stream.seek(0)
    assert _difference(qpy.load(stream)[0].assign_parameters(values), expected) < 1e-12


def test_a_parameter_may_become_an_expression_of_another() -> None:
    x, y = Parameter("x"), Parameter("y")
    body = QuantumCircuit(1)
    body.rx(2 * x, 0)
    body.rz(x + 1, 0)
    outer = QuantumCircuit(1)
    outer.append(FusedGate(body), [0])
    bound = outer.assign_parameters({x: 2 * y}).assign_parameters({y: 0.3})
    assert _difference(bound, body.assign_parameters({x: 0.6})) < 1e-12


def test_unfuse_inverse_and_control() -> None:
    body = random_circuit(2, 4, seed=3)
    gate = FusedGate(body)
    assert _difference(gate.unfuse(), body) < 1e-12
    np.testing.assert_allclose(Operator(gate.inverse()).data, Operator(body.inverse()).data, atol=1e-12)
    np.testing.assert_allclose(Operator(gate.control()).data, Operator(body.to_gate().control()).data, atol=1e-10)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="max_qubits is 0"):
        FusionPass(0)
    with pytest.raises(InvalidInputError, match="classical bits"):
        FusedGate(QuantumCircuit(1, 1))
    body = QuantumCircuit(1)
    body.rx(Parameter("x"), 0)
    with pytest.raises(InvalidInputError, match="2 parameters"):
        FusedGate(body, [0.1, 0.2])
    with pytest.raises(InvalidInputError, match=r"a list is expected: passes=\[FusionPass\]"):
        transpile(body, passes=FusionPass)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="passes holds 'x', which is not a transpiler pass"):
        transpile(body, passes="x")  # type: ignore[arg-type]


def test_transpile_takes_passes_as_classes_and_instances() -> None:
    circuit = efficient_su2(3, reps=1)
    values = np.random.default_rng(1).uniform(-3, 3, circuit.num_parameters)
    for passes in ([FusionPass], [FusionPass(2)]):
        fused = transpile(circuit, passes=passes)
        assert "fused" in fused.count_ops()
        assert _difference(fused.assign_parameters(values), circuit.assign_parameters(values)) < 1e-10
    several = transpile([circuit, circuit], passes=[FusionPass])
    assert [c.count_ops() for c in several] == [{"fused": 1}, {"fused": 1}]
    assert "fused" not in transpile(circuit).count_ops()


def test_the_layout_survives() -> None:
    backend = GenericBackendV2(5, seed=1)
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    fused = transpile(circuit, backend, passes=[FusionPass(2)], initial_layout=[3, 4], seed_transpiler=1)
    assert fused.layout is not None
    assert fused.layout.final_index_layout() == [3, 4]


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_fused_circuits_run_where_they_are_sent(level: int) -> None:
    circuit = efficient_su2(3, reps=1).assign_parameters(np.linspace(0, 1, 12))
    fused = FusionPass(2)(circuit)
    kept = qiskit_transpile(fused, FusedSimulator(), optimization_level=level)
    assert "fused" in kept.count_ops()
    unrolled = qiskit_transpile(fused, basis_gates=["u", "cx"], optimization_level=level)
    assert set(unrolled.count_ops()) <= {"u", "cx"}
    assert _difference(unrolled, circuit) < 1e-9


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_fused_circuits_run_on_a_device_with_connections(level: int) -> None:
    backend = GenericBackendV2(5, coupling_map=CouplingMap.from_line(5), seed=1)
    circuit = efficient_su2(4, reps=1, entanglement="circular").assign_parameters(np.linspace(0, 1, 16))
    fused = FusionPass(3)(circuit)
    unrolled = qiskit_transpile(fused, backend, optimization_level=level, seed_transpiler=1)
    assert set(unrolled.count_ops()) <= set(backend.operation_names)
    padded = QuantumCircuit(5).compose(circuit, range(4))
    routed = Operator.from_circuit(unrolled, ignore_set_layout=False)
    assert routed.equiv(Operator(padded), atol=1e-8)


PLUGIN = """
from qiskit import transpile
from qiskit.circuit.library import efficient_su2
from qiskit.transpiler import generate_preset_pass_manager
from qiskit.transpiler.preset_passmanagers.plugin import list_stage_plugins
from qiskit_fusedqml import FusedSimulator
assert "fused" in list_stage_plugins("optimization")
circuit = efficient_su2(4, reps=2)
for level in range(4):
    fused = transpile(circuit, FusedSimulator(), optimization_method="fused", optimization_level=level)
    manager = generate_preset_pass_manager(level, FusedSimulator(), optimization_method="fused")
    print(dict(fused.count_ops()), dict(manager.run(circuit).count_ops()), fused.parameters == circuit.parameters)
"""


def test_the_stage_plugin_at_all_levels(tmp_path: Path) -> None:
    """With nothing but the entry point of the project's own metadata, installed or not."""
    info = tmp_path / "fusedqml_entry_point-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fusedqml-entry-point\nVersion: 1\n")
    group, name = "qiskit.transpiler.optimization", "fused"
    value = tomllib.loads(PYPROJECT.read_text())["project"]["entry-points"][group][name]
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")
    places = os.pathsep.join([str(tmp_path), str(Path(qiskit_fusedqml.__file__).parent.parent)])
    answer = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", PLUGIN],
        env=os.environ | {"PYTHONPATH": places},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines() == ["{'fused': 1} {'fused': 1} True"] * 4


def test_fused_gates_that_went_through_qpy_run_on_the_simulator() -> None:
    circuit = efficient_su2(4, reps=1)
    fused = FusionPass(2)(circuit)
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Qiskit 2.0 warns about its own format
        qpy.dump(fused, stream)
        stream.seek(0)
        loaded = qpy.load(stream)[0]
    values = np.linspace(-1, 1, circuit.num_parameters)
    save(loaded, "statevector")
    names = [parameter.name for parameter in circuit.parameters]
    binds = [{name: [value] for name, value in zip(names, values, strict=True)}]
    state = FusedSimulator().run(loaded, binds).result().get_statevector()
    np.testing.assert_allclose(state.data, Statevector(circuit.assign_parameters(values)).data, atol=1e-12)


def test_passes_with_equal_arguments_are_one() -> None:
    assert FusionPass(3) == FusionPass(3)
    assert FusionPass(3) != FusionPass(4)
    assert FusionPass(3, barriers="drop") != FusionPass(3)


def test_in_a_pass_manager() -> None:
    circuit = efficient_su2(3, reps=1)
    assert PassManager([FusionPass()]).run(circuit).count_ops() == {"fused": 1}
    manager = generate_preset_pass_manager(optimization_level=1, backend=FusedSimulator())
    manager.post_optimization = PassManager([FusionPass()])
    assert manager.run(circuit).count_ops() == {"fused": 1}


@pytest.mark.parametrize("reps", [1, 40])
def test_a_fused_circuit_is_drawn_within_120_columns(reps: int) -> None:
    fused = FusionPass()(efficient_su2(6, reps=reps))
    bound = fused.assign_parameters(np.linspace(-3, 3, fused.num_parameters))
    for circuit in (fused, bound, fused.copy(), pickle.loads(pickle.dumps(fused))):
        assert max(map(len, str(circuit.draw("text", fold=120)).splitlines())) <= 120
        assert f"fused {len(fused.data[0].operation.unfuse())}" in str(circuit.draw("text", fold=120))


def test_few_parameters_of_a_fused_gate_are_drawn() -> None:
    body = QuantumCircuit(1)
    body.rx(Parameter("left"), 0)
    body.rz(Parameter("right"), 0)
    outer = QuantumCircuit(1)
    outer.append(FusedGate(body), [0])
    assert "fused 2(left,right)" in str(outer.draw("text"))
