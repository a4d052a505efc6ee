"""The benchmarks measure what they say: workloads, the adapters' protocol, the refusal of wrong answers, the tables."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qiskit.circuit.library import efficient_su2, real_amplitudes, zz_feature_map
from qiskit.quantum_info import Operator, Statevector
from scipy.linalg import expm

import qiskit_fusedqml

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import compare  # noqa: E402
import measure as measuring  # noqa: E402
import peers  # noqa: E402
import run as running  # noqa: E402
import spec  # noqa: E402
import turns  # noqa: E402
import workloads  # noqa: E402
from peers.adapter import UnsupportedError, affordable_samples, slopes  # noqa: E402
from peers.fusedqml import Adapter as FusedAdapter  # noqa: E402
from peers.qiskit_circuit import build  # noqa: E402
from peers.session import PeerError, Session  # noqa: E402

ComplexArray = NDArray[np.complex128]

SMALL = tuple(f"{family}:n=4,L=2,B={1 if family == 'qaoa' else 3}" for family in workloads.FAMILIES)
PAULIS = {
    "I": np.eye(2),
    "X": np.array([[0, 1], [1, 0]]),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.diag([1, -1]),
}
HADAMARD = np.array([[1, 1], [1, -1]]) / np.sqrt(2)


def on_qubits(matrices: dict[int, NDArray[Any]], n: int) -> ComplexArray:
    """The tensor product, qubit 0 the least significant bit."""
    result = np.eye(1, dtype=complex)
    for qubit in range(n):
        result = np.kron(matrices.get(qubit, PAULIS["I"]), result)
    return result


def gate_matrix(gate: spec.Gate, theta: tuple[float, ...], n: int) -> ComplexArray:
    """The gate's definition: rotations as exponentials, controls as projectors."""
    name, qubits = gate.name, gate.qubits
    if name == "u":
        parts = [
            gate_matrix(part, (t,), n) for part, t in zip(spec.primitive(gate), theta[2:] + theta[:2], strict=True)
        ]
        return np.exp(0.5j * (theta[1] + theta[2])) * parts[2] @ parts[1] @ parts[0]
    if name == "p":
        return on_qubits({qubits[0]: np.diag([1, np.exp(1j * theta[0])])}, n)
    if name[0] == "c":
        control, target = qubits
        if name in {"cx", "cz"}:
            acting = on_qubits({target: PAULIS[name[1].upper()]}, n)
        else:
            acting = gate_matrix(spec.Gate(name[1:], (target,)), theta, n)
        off, on = np.diag([1, 0]), np.diag([0, 1])
        return on_qubits({control: off}, n) + on_qubits({control: on}, n) @ acting
    if name in {"h", "x"}:
        return on_qubits({qubits[0]: HADAMARD if name == "h" else PAULIS["X"]}, n)
    string = on_qubits({q: PAULIS[name[1].upper()] for q in qubits}, n)
    return expm(-0.5j * theta[0] * string)


def simulate(workload: spec.Workload, inputs: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values (B, n_obs) straight from the neutral data."""
    n, values = workload.num_qubits, []
    observables = [
        sum(t.coefficient * on_qubits({q: PAULIS[letter] for letter, q in t.paulis}, n) for t in terms)
        for terms in workload.observables
    ]
    for row in range(workload.batch):
        state = np.eye(2**n, dtype=complex)[0]
        for gate in workload.gates:
            theta = tuple(float(np.squeeze(a.evaluate(inputs[row : row + 1], weights))) for a in gate.angles)
            state = gate_matrix(gate, theta, n) @ state
        values.append([np.vdot(state, observable @ state).real for observable in observables])
    return np.array(values)


# --- workloads ---


def test_the_six_sizes() -> None:
    expected = {
        "W1": (4, 3, 256),
        "W2": (8, 5, 128),
        "W3": (12, 10, 32),
        "W4": (16, 10, 4),
        "W5": (20, 5, 1),
        "W6": (10, 100, 16),
    }
    for name, (n, layers, batch) in expected.items():
        workload = workloads.get(name)
        assert (workload.num_qubits, workload.num_layers, workload.batch) == (n, layers, batch)
        assert workload.num_weights == 3 * n * layers
        assert workload.useful_fma == (10 * n + 14) * 2**n * layers * batch
        names = [gate.name for gate in workload.gates]
        assert names == ["ry"] * n + (["rx", "ry", "rz"] * n + ["cx"] * n) * layers
        assert workload.gates[-1].qubits == (n - 1, 0)
        assert workload.observables == (tuple(spec.Term(1 / n, (("Z", q),)) for q in range(n)),)


@pytest.mark.parametrize("name", SMALL)
def test_neutral_data_and_qiskit_circuit_mean_the_same(name: str) -> None:
    workload = workloads.get(name)
    inputs, weights = workload.inputs(), workload.weights(1)
    built = build(workload)
    expected = simulate(workload, inputs, weights)
    for row, values in zip(inputs, expected, strict=True):
        bound = dict(zip([*built.inputs, *built.weights], [*row, *weights], strict=True))
        state = Statevector(built.circuit.assign_parameters(bound))
        assert [state.expectation_value(o).real for o in built.observables] == pytest.approx(values, abs=1e-12)


@pytest.mark.parametrize("name", SMALL)
def test_every_weight_has_an_effect_and_layers_have_their_own(name: str) -> None:
    workload = workloads.get(name)
    used = [f.index for g in workload.gates for a in g.angles for f in a.factors if f.source == "weight"]
    assert sorted(set(used)) == list(range(workload.num_weights))
    if not name.startswith("qaoa"):
        assert len(used) == workload.num_weights
    assert all(sum(abs(t.coefficient) for t in terms) <= 1 + 1e-12 for terms in workload.observables)


@pytest.mark.parametrize("entanglement", ["linear", "full", "sca"])
def test_efficient_su2_is_the_librarys(entanglement: str) -> None:
    workload = workloads.get(f"su2_{entanglement}:n=4,L=5,B=1")
    library = efficient_su2(4, reps=5, entanglement=entanglement)
    weights = workload.weights(2)
    built = build(replace(workload, prefix=workload.prefix[4:], num_inputs=0))
    ours = built.circuit.assign_parameters(dict(zip(built.weights, weights, strict=True)))
    assert Operator(ours).equiv(Operator(library.assign_parameters(weights)))


def test_zz_real_is_the_librarys() -> None:
    workload = workloads.get("zz_real:n=4,L=2,B=1")
    feature_map, ansatz = zz_feature_map(4, reps=2), real_amplitudes(4, reps=2)
    inputs, weights = workload.inputs()[0], workload.weights(0)
    library = feature_map.assign_parameters(inputs).compose(ansatz.assign_parameters(weights))
    built = build(workload)
    ours = built.circuit.assign_parameters(dict(zip([*built.inputs, *built.weights], [*inputs, *weights], strict=True)))
    assert Operator(ours).equiv(Operator(library))


def test_real_is_the_librarys() -> None:
    workload = workloads.get("real:n=4,L=2,B=1")
    built, weights = build(replace(workload, prefix=workload.prefix[4:], num_inputs=0)), workload.weights(0)
    library = real_amplitudes(4, reps=2, entanglement="circular").assign_parameters(weights)
    ours = built.circuit.assign_parameters(dict(zip(built.weights, weights, strict=True)))
    assert Operator(ours).equiv(Operator(library))


def test_primitives_equal_their_gate() -> None:
    rng = np.random.default_rng(5)
    for gate in (spec.Gate("u", (0,), (spec.Angle(),) * 3), spec.Gate("p", (0,), (spec.Angle(),))):
        angles = tuple(spec.Angle(float(a)) for a in rng.uniform(-3, 3, len(gate.angles)))
        workload = replace(workloads.get("hea:n=1,L=1,B=1"), prefix=(replace(gate, angles=angles),), num_layers=0)
        lowered = replace(workload, prefix=tuple(spec.primitive(workload.prefix[0])))
        assert Operator(build(workload).circuit).equiv(Operator(build(lowered).circuit))
    with pytest.raises(ValueError, match="no rule for gate 'ecr'"):
        spec.primitive(spec.Gate("ecr", (0, 1)))


def test_data_is_reproducible_new_at_every_step_and_nested_in_the_batch() -> None:
    workload = workloads.get("hea:n=3,L=2,B=5")
    assert np.array_equal(workload.weights(7), workload.weights(7))
    assert not np.allclose(workload.weights(7), workload.weights(8))
    assert np.array_equal(replace(workload, batch=2).inputs(), workload.inputs()[:2])


def test_names_expand_and_wrong_ones_are_refused() -> None:
    assert workloads.expand("W1, hea:n=4,L=3,B=2,W1;paper")[:3] == ("W1", "hea:n=4,L=3,B=2", "W2")
    assert set(workloads.expand("all")) == set(workloads.NAMED)
    for wrong in ("W7", "hea:n=4", "nothing:n=4,L=1,B=1"):
        with pytest.raises(ValueError, match="There is no workload"):
            workloads.expand(wrong)


def test_hamiltonian_has_many_different_strings() -> None:
    terms = workloads.get("hamiltonian").observables[0]
    assert len({term.paulis for term in terms}) >= 100


def test_molecules_keep_their_electrons() -> None:
    assert len(workloads.get("molecule").observables[0]) > 1500
    n = 6
    terms = workloads.get(f"molecule:n={n},L=1,B=1").observables[0]
    matrix = sum(t.coefficient * on_qubits({q: PAULIS[letter] for letter, q in t.paulis}, n) for t in terms)
    for spin in (range(n // 2), range(n // 2, n)):
        electrons = sum(on_qubits({q: (np.eye(2) - PAULIS["Z"]) / 2}, n) for q in spin)
        np.testing.assert_allclose(matrix @ electrons, electrons @ matrix, atol=1e-14)


# --- adapters ---


@pytest.mark.parametrize("name", SMALL)
def test_our_adapter_agrees_with_the_neutral_data(name: str) -> None:
    workload = workloads.get(name)
    inputs, weights, wanted = workload.inputs(), workload.weights(3), workload.wanted
    adapter = FusedAdapter(workload, "double", 1, 60.0)
    step = adapter.step(weights)
    np.testing.assert_allclose(step.values, simulate(workload, inputs, weights), atol=1e-11)
    assert (step.weights is None) == (wanted in {"values", "jacobian"})
    rng = np.random.default_rng(1)
    if step.weights is not None:
        direction = rng.standard_normal(weights.size)
        expected = slope(lambda t: simulate(workload, inputs, weights + t * direction).sum())
        assert step.weights @ direction == pytest.approx(expected, abs=1e-8)
    if wanted == "weights+inputs":
        assert step.inputs is not None
        along = rng.standard_normal(inputs.shape)
        expected = slope(lambda t: simulate(workload, inputs + t * along, weights).sum())
        assert (step.inputs * along).sum() == pytest.approx(expected, abs=1e-8)
    if wanted == "jacobian":
        assert step.jacobian is not None
        direction = rng.standard_normal(weights.size)
        expected = slope(lambda t: simulate(workload, inputs, weights + t * direction))
        np.testing.assert_allclose(step.jacobian @ direction, expected, atol=1e-8)
    device, report = adapter.function.device, adapter.report()
    assert 0 < report["outside_sweeps"] < 1
    assert report["plan"]
    assert adapter.function.device is device


def slope(function: Callable[[float], Any], h: float = 1e-3) -> Any:
    """Derivative at 0, of fourth order."""
    return (8 * (function(h) - function(-h)) - (function(2 * h) - function(-2 * h))) / (12 * h)


def test_slopes_and_samples() -> None:
    x, w = spec.Factor("input", 1, 2.0), spec.Factor("weight", 0, -1.0)
    table = slopes([spec.Angle(3.0, (w,)), spec.Angle(1.0, (x,)), spec.Angle(0.5)], "weight", 2)
    np.testing.assert_array_equal(table, [[-3.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    with pytest.raises(UnsupportedError, match="products by the weights"):
        slopes([spec.Angle(1.0, (x, w))], "weight", 2)
    workload = workloads.get("hea:n=2,L=1,B=100")
    assert affordable_samples(workload, 0.5, 10.0) == 20
    assert affordable_samples(workload, 1e-6, 10.0) == 100
    with pytest.raises(UnsupportedError, match="one sample would take about 20 s"):
        affordable_samples(workload, 20.0, 10.0)


# --- the protocol, with peers made up here ---

FAKE = """
import os, time
import numpy as np
from peers.adapter import Step, UnsupportedError

FAULT = {fault!r}
PAULI = {{"x": np.array([[0, 1], [1, 0]]), "y": np.array([[0, -1j], [1j, 0]]), "z": np.diag([1, -1])}}

def apply(gate, theta, state):
    axes = np.moveaxis(state, [state.ndim - 1 - q for q in gate.qubits], range(len(gate.qubits)))
    if gate.name == "cx":
        axes[1] = axes[1, ::-1].copy()
    else:
        axes[:] = np.cos(theta / 2) * axes - 1j * np.sin(theta / 2) * np.tensordot(PAULI[gate.name[1]], axes, 1)

class Adapter:
    packages = ("numpy",)
    note = "parameter shift on two qubits"

    def __init__(self, workload, precision, threads, step_limit):
        if FAULT == "unsupported":
            raise UnsupportedError("no such gate here")
        print("tools print on stdout")
        self.workload = workload
        self.batch = 2 if FAULT == "few" else workload.batch
        self.inputs = workload.inputs()[: self.batch]

    def values(self, weights):
        result = []
        for row in range(self.batch):
            state = np.zeros((2, 2), complex)
            state[0, 0] = 1
            for gate in self.workload.gates:
                theta = [a.evaluate(self.inputs[row : row + 1], weights) for a in gate.angles]
                apply(gate, float(np.squeeze(theta[0])) if theta else 0.0, state)
            p = np.abs(state) ** 2
            result.append([p[0, 0] - p[1, 1]])
        return np.array(result)

    def step(self, weights):
        if FAULT == "hang":
            time.sleep(60)
        if FAULT == "death":
            os._exit(3)
        if FAULT == "exception":
            raise ArithmeticError("out of luck")
        shifts = np.pi / 2 * np.eye(weights.size)
        gradient = np.array([(self.values(weights + s) - self.values(weights - s)).sum() / 2 for s in shifts])
        values = self.values(weights)
        if FAULT == "gradient":
            gradient[1] += 1e-3
        if FAULT == "values":
            values[1] += 1e-3
        if FAULT == "nan":
            gradient[0] = np.nan
        if FAULT == "shape":
            gradient = gradient[:-1]
        return Step(values, weights=None if FAULT == "absent" else gradient)

    def report(self):
        return {{"outside_sweeps": 0.25}}
"""

TINY = "hea:n=2,L=1,B=3"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Makes a peer with a fault and gives its name; ours is a faultless one."""

    def make(fault: str = "", name: str | None = None, precisions: tuple[str, ...] = ("double", "single")) -> str:
        module = f"fake_{fault or 'good'}"
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(FAKE.format(fault=fault)))
        monkeypatch.setitem(peers.PEERS, name or module, peers.Peer(module, module, None, precisions))
        return name or module

    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(qiskit_fusedqml.__file__).parent.parent}")
    make(name=peers.OURS)
    return make


OPTIONS = measuring.Options(threads=1, repeats=4, budget=5.0, rounds=2, step_limit=20.0, build_limit=120.0)


def test_a_right_answer_is_timed(fake: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "SETTLE_SECONDS", 0.0)
    result = measuring.measure(TINY, "double", (peers.OURS, fake("", "honest"), fake("few")), OPTIONS)
    entries = result["entries"]
    for entry in entries.values():
        assert entry["status"] == "ok"
        assert [len(turn["seconds"]) for turn in entry["turns"]] == [2, 2]
        assert set(entry["seconds"]) <= {s for turn in entry["turns"] for s in turn["seconds"]}
        assert max(entry["errors"].values()) < 1e-12
        assert entry["minimum"] <= entry["median"] <= entry["maximum"]
        assert entry["versions"]["numpy"] == np.__version__
        assert entry["outside_sweeps"] == 0.25
    assert not entries["honest"]["scaled"]
    few = entries["fake_few"]
    assert few["batch"] == 2
    assert few["scaled"]
    assert few["median"] == pytest.approx(1.5 * float(np.median(few["seconds"])))
    assert result["useful_fma"] == (10 * 2 + 14) * 4 * 3
    json.dumps(result)


@pytest.mark.parametrize("fault", ["gradient", "values", "nan", "shape", "absent"])
def test_a_wrong_answer_is_refused(fault: str, fake: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "SETTLE_SECONDS", 0.0)
    result = measuring.measure(TINY, "single", (peers.OURS, fake(fault)), replace(OPTIONS, repeats=1, rounds=1))
    entry = result["entries"][f"fake_{fault}"]
    assert entry["status"] == "refused"
    assert "differs from our answer" in entry["reason"]
    assert "median" not in entry
    assert "seconds" not in entry
    assert result["entries"][peers.OURS]["status"] == "ok"
    assert compare.best_peer(result) is None


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        ("unsupported", "unsupported", "no such gate here"),
        ("exception", "error", "ArithmeticError: out of luck"),
        ("death", "error", "ended with status 3 during 'build'"),
        ("hang", "timeout", "no answer to 'build' within 3 s"),
    ],
)
def test_failures_are_named(fault: str, status: str, reason: str, fake: Callable[..., str]) -> None:
    limit = 3.0 if fault == "hang" else 60.0
    session = Session(peers.PEERS[fake(fault)], Path(), 1)
    with session, pytest.raises(PeerError) as raised:
        session.ask("build", limit, workload=TINY, precision="double", threads=1, step_limit=9.0)
    assert raised.value.status == status
    assert reason in str(raised.value)


def test_the_made_up_peer_is_right(fake: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    honest = fake("", "honest")
    monkeypatch.setitem(peers.PEERS, peers.OURS, replace(peers.PEERS[peers.OURS], module="peers.fusedqml"))
    result = measuring.measure(TINY, "double", (peers.OURS, honest), replace(OPTIONS, repeats=1, rounds=1))
    assert [entry["status"] for entry in result["entries"].values()] == ["ok", "ok"]


def test_missing_and_unfit_peers_are_named(fake: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(peers.PEERS, "absent", peers.Peer("absent", "absent", "absent"))
    fake("", "double-only", ("double",))
    options = replace(OPTIONS, repeats=1, rounds=1, venvs=Path("nowhere"))
    result = measuring.measure(TINY, "single", (peers.OURS, "absent", "double-only"), options)
    assert result["entries"]["absent"]["status"] == "missing"
    assert "setup_peers.sh" in result["entries"]["absent"]["reason"]
    assert result["entries"]["double-only"]["status"] == "unsupported"


def test_nothing_is_kept_when_our_own_answer_is_missing(fake: Callable[..., str]) -> None:
    fake("exception", peers.OURS)
    result = measuring.measure(TINY, "double", (peers.OURS, fake("", "honest")), replace(OPTIONS, repeats=1, rounds=1))
    assert result["entries"][peers.OURS]["status"] == "error"
    assert result["entries"]["honest"]["status"] == "refused"
    assert compare.ratio(result) is None


def test_an_interrupted_run_keeps_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(name: str, precision: str, chosen: tuple[str, ...], options: measuring.Options) -> dict[str, Any]:
        assert chosen == (peers.OURS, "lightning")
        assert options.threads == 1
        if name == "W2":
            raise KeyboardInterrupt
        return result(name, precision, {"ours": 1e-4, "lightning": 1e-2})

    ceilings = {"threads": 1, "gemm_gfma_per_s": {"double": 20.0, "single": 40.0}, "axpy_gb_per_s": {}}
    monkeypatch.setattr(running, "measure", interrupted)
    monkeypatch.setattr(running, "ceilings", SimpleNamespace(measure=lambda _: ceilings))
    output = tmp_path / "deep" / "out.json"
    arguments = running.parse(
        ["--workloads", "W1,W2", "--peers", "lightning", "--precision", "double", "--threads", "1"]
    )
    running.run(arguments, output)
    record = json.loads(output.read_text())
    assert [r["workload"] for r in record["results"]] == ["W1"]
    assert not record["complete"]
    assert str(tmp_path) not in output.read_text()
    assert "Interrupted" in capsys.readouterr().err
    assert "The run was interrupted." in compare.table(record)


@pytest.mark.parametrize(
    ("option", "message"),
    [("--workloads=W9", "no workload 'W9'"), ("--peers=qsim", "no peer 'qsim'"), ("--precision=half", "'half'")],
)
def test_bad_options_are_refused(option: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        running.parse([option])
    assert message in capsys.readouterr().err


# --- turns ---


class ScriptedSession:
    """A session whose steps take what the script says, on a machine whose clocks are scripted too."""

    pid = 1

    def __init__(self, clock: dict[str, float], others: list[float]) -> None:
        self.clock, self.script, self.asked = clock, others, []

    def ask(self, _command: str, _timeout: float, **request: Any) -> dict[str, Any]:
        self.asked.append(request["first"])
        others = self.script.pop(0)
        self.clock["wall"] += 1.0
        self.clock["own"] += 1.0
        self.clock["busy"] += 1.0 + others
        return {"seconds": [1.0 + others]}


@pytest.mark.parametrize(
    ("others", "patience", "kept", "disturbed"),
    [
        ([0.0, 0.0], 0.0, [1.0, 1.0], False),
        ([0.9, 0.0], 0.0, [1.0], False),
        ([0.9, 0.8], 0.0, [1.9, 1.8], True),
        ([0.9, 0.0, 0.7, 0.0], 50.0, [1.0, 1.0], False),
    ],
)
def test_disturbed_turns_do_not_count_and_are_repeated(
    others: list[float], patience: float, kept: list[float], disturbed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = {"wall": 0.0, "busy": 0.0, "own": 0.0}
    monkeypatch.setattr(turns, "time", SimpleNamespace(perf_counter=lambda: clock["wall"], sleep=lambda _: None))
    monkeypatch.setattr(turns.machine, "busy_seconds", lambda: clock["busy"])
    monkeypatch.setattr(turns.machine, "process_seconds", lambda _: clock["own"])
    monkeypatch.setattr(turns.machine, "cores", lambda: 2)
    session = ScriptedSession(clock, others)
    contestant = turns.Contestant(session)
    turns.take_turns({"it": contestant}, turns.Schedule(2, 100.0, 2, patience, 1.0))
    assert contestant.seconds == kept
    assert contestant.record()["disturbed"] == disturbed
    assert session.asked == list(range(1, 1 + len(contestant.turns)))
    assert not session.script


# --- tables ---


def result(name: str, precision: str, medians: dict[str, float | None]) -> dict[str, Any]:
    """A result as `measure` makes it, None standing for a refused peer."""
    entries: dict[str, Any] = {}
    for peer, median in medians.items():
        if median is None:
            entries[peer] = {"status": "refused", "title": peer, "reason": "differs"}
            continue
        entries[peer] = {
            "status": "ok",
            "title": peer,
            "versions": {peer: "1.0"},
            "median": median,
            "scaled": peer == "param_shift",
            "disturbed": peer == "qulacs",
        }
        if peer == peers.OURS:
            entries[peer] |= {"useful_gfma_per_s": 10.0, "outside_sweeps": 0.07}
    workload = workloads.get(name)
    shape = {"num_qubits": workload.num_qubits, "num_weights": workload.num_weights, "batch": workload.batch}
    return {"workload": name, "precision": precision, "wanted": "weights", **shape, "entries": entries}


def record(*results: dict[str, Any]) -> dict[str, Any]:
    return {
        "schema": 1,
        "date": "2026-01-02T03:04:05+00:00",
        "complete": True,
        "commit": "abc1234",
        "machine": {"cpu": "A CPU", "cores": 2, "instruction_set": ["avx2"]},
        "load": {"before": 0.1, "after": 0.2},
        "options": {"threads": 2},
        "ceilings": {"before": {"gemm_gfma_per_s": {"double": 20.0, "single": 40.0}}, "after": None},
        "results": list(results),
    }


def test_the_table_names_the_best_peer_and_the_ratio() -> None:
    tables = compare.table(
        record(
            result(
                "W1", "double", {"ours": 1e-4, "lightning": 4e-3, "qulacs": 2e-3, "param_shift": 100.0, "aer": None}
            ),
            result("W2", "double", {"ours": 1e-3, "lightning": 5e-3}),
            result("W1", "single", {"ours": 5e-5, "lightning": 1e-3}),
        )
    )
    assert (
        "| W1 | 4 | 36 | 256 | 100 µs | **20.0** | 10.0 (50 %) | 7 % | 4 ms | **2 ms~** | 100 s* | refused |" in tables
    )
    assert "| W2 | 8 | 120 | 128 | 1 ms | **5.0** | 10.0 (50 %) | 7 % | **5 ms** | not installed |" in tables
    assert "Geometric mean of best peer / ours: **10.0**." in tables
    assert "10.0 (25 %)" in tables.split("**Single precision**")[1]
    assert "2026-01-02" in tables
    assert "A CPU" in tables
    assert "scaled linearly" in tables
    assert "other programs were busy" in tables


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2.5e-5, "25 µs"),
        (9.994e-4, "999 µs"),
        (9.996e-4, "1 ms"),
        (0.0123, "12.3 ms"),
        (3.21, "3.21 s"),
        (1234.5, "1234 s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert compare.duration(seconds) == text


def test_tables_go_between_the_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme, source = tmp_path / "README.md", tmp_path / "a.json"
    source.write_text(json.dumps(record(result("W1", "double", {"ours": 1e-4, "lightning": 4e-3}))))
    (start, end), (begin, finish) = map(compare.marks, compare.KINDS)
    readme.write_text(f"before\n{start}\nold\n{end}\nafter\n{begin}\nkept\n{finish}\n")
    monkeypatch.setattr(sys, "argv", ["compare.py", str(source), "--readme", str(readme)])
    assert compare.main() == 0
    first = readme.read_text()
    assert first.startswith(f"before\n{start}\n")
    assert first.endswith(f"{end}\nafter\n{begin}\nkept\n{finish}\n")
    assert "old" not in first
    assert "**40.0**" in first
    compare.main()
    assert readme.read_text() == first
    with pytest.raises(ValueError, match="needs one line"):
        compare.insert("no marks", "tables")
    source.write_text(json.dumps(NETWORKS))
    compare.main()
    second = readme.read_text()
    assert second.startswith(first.split(begin)[0])
    assert "kept" not in second
    assert "| a network | 2 ms | `jacobian` | 1.5 ms | **+0.50 ms** | at most +0.60 ms |" in second
    assert "| another | 1 ms | `jacobian` | 1.25 ms | **−0.25 ms, torch alone 0.10** | at most +0.30 ms |" in second
    assert "| a kernel | 10 ms | stock | 3 s* | **300 times** | 200 times |" in second
    assert "| a sampler | 1 ms | stock | 3 s | **3000 times** | within 5 ms |" in second
    assert "Other programs" not in second
    assert "Other programs" in compare.networks_table(NETWORKS | {"load": {"before": 0.1, "after": 2.5}})


RESULTS = json.loads((BENCHMARKS / "results" / "w1-w6-epyc-2-cores.json").read_text())


def ratios_by_hand(precision: str) -> list[float]:
    found = []
    for result in RESULTS["results"]:
        if result["precision"] == precision:
            times = {peer: entry["median"] for peer, entry in result["entries"].items() if "median" in entry}
            found.append(min(time for peer, time in times.items() if peer != "ours") / times["ours"])
    return found


def test_the_readme_has_the_figures_of_the_file() -> None:
    readme = (BENCHMARKS.parent / "README.md").read_text()
    assert compare.insert(readme, compare.summary(RESULTS), compare.SUMMARY) == readme
    lines = compare.summary(RESULTS).splitlines()[2:]
    assert [line.split("| **")[1] for line in lines] == [f"{value:.1f}** |" for value in ratios_by_hand("double")]
    assert lines[4].startswith("| W5 | 20 qubits, 5 layers | 300 | 1 sample | 33 ms | 1.56 s (mindquantum) | ")
    least, most = map(int, re.search(r"is\s+(\d+)\s+to\s+(\d+)\s+times\s+as\s+fast", readme).groups())
    assert least == int(min(ratios_by_hand("double")))
    assert most == round(max(ratios_by_hand("double")))


def test_the_long_tables_are_those_of_the_files() -> None:
    text = (BENCHMARKS / "README.md").read_text()
    for name, make in (("w1-w6", compare.table), ("shapes", compare.table), ("networks", compare.networks_table)):
        assert make(json.loads((BENCHMARKS / "results" / f"{name}-epyc-2-cores.json").read_text())) in text


def test_the_chart_shows_the_ratios(tmp_path: Path) -> None:
    import chart

    chart.draw(tmp_path)
    expected = [f"{value:.1f}" for precision in ("double", "single") for value in ratios_by_hand(precision)]
    for folder in (tmp_path, BENCHMARKS.parent / "docs"):
        assert re.findall(r">(\d+\.\d)</text>", (folder / "speed.svg").read_text()) == expected
        assert (folder / "growth.svg").read_text().count("proportional to") == 3


def test_the_chart_of_growth_has_every_workload() -> None:
    import chart

    record = json.loads((BENCHMARKS / "results" / "scaling-epyc-2-cores.json").read_text())
    seconds = {result["workload"]: result["entries"]["ours"]["median"] for result in record["results"]}
    lines = [axes.lines[0] for axes in chart.growth(record).axes]
    drawn = {(letter, x): y for letter, line in zip("nLB", lines, strict=True) for x, y in line.get_xydata()}
    assert drawn["n", 22] == seconds["hea:n=22,L=5,B=1"]
    assert drawn["n", 10] == seconds["hea:n=10,L=5,B=128"] / 128
    assert drawn["L", 300] == seconds["hea:n=8,L=300,B=64"]
    assert drawn["B", 1] == seconds["hea:n=8,L=5,B=1"]
    assert len(drawn) == len(seconds) + 2  # eight qubits, five layers stand in each line


NETWORKS = {
    "kind": "networks",
    "date": "2026-01-02",
    "machine": {"cpu": "A CPU", "cores": 2},
    "commit": "abc",
    "threads": 2,
    "versions": {"torch": "1"},
    "load": {"before": 0.1},
    "entries": [
        {"what": "a network", "seconds": 2e-3, "beside": "`jacobian`", "reference": 1.5e-3, "scaled": False}
        | {"more": 0.5e-3, "allowed": 0.6e-3},
        {"what": "another", "seconds": 1e-3, "beside": "`jacobian`", "reference": 1.25e-3, "scaled": False}
        | {"more": -0.25e-3, "allowed": 0.3e-3, "torch": 0.1e-3},
        {"what": "a kernel", "seconds": 1e-2, "beside": "stock", "reference": 3.0, "scaled": True, "faster": 200.0},
        {"what": "a sampler", "seconds": 1e-3, "beside": "stock", "reference": 3.0, "scaled": False, "within": 5e-3},
    ],
}


def test_second_calls_in_a_turn_count_and_first_ones_are_kept() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("qiskit_machine_learning")
    import networks

    calls: list[str] = []
    one, two = networks.seconds(lambda: calls.append("a"), lambda: calls.append("b"), repeats=3)
    assert calls == 5 * ["a", "a", "b", "b"]
    assert [len(each) for each in (*one, *two)] == 4 * [3]
    own, engine = networks.Times([9.0, 8.0, 7.0], [3.0, 5.0, 4.0]), networks.Times([1.0, 1.0, 1.0], [1.0, 4.0, 1.5])
    entry = networks.overhead("ours", own, "theirs", engine, 2.0, networks.Times([0.5, 0.25, 0.75], [0.1, 0.1, 0.1]))
    assert (entry["seconds"], entry["reference"], entry["more"]) == (4.0, 1.5, 2.0)
    assert entry["first"] == {"seconds": 8.0, "reference": 1.0, "more": 7.0}
    assert entry["torch"] == 0.5
    assert "+2000.00 ms, 500.00 of it torch's own (+7000.00 in first calls), 2000.00 allowed" in networks.line(entry)


def test_the_whole_kernel_is_checked_and_weighed() -> None:
    pytest.importorskip("qiskit_machine_learning")
    import kernel

    entry = kernel.measure(30, 3, 1.0)
    assert entry["matrix_mib"] == 30 * 30 * 8 / 2**20
    assert entry["seconds"] > 0
    assert entry["peak_mib"] >= 0
    assert "30 x 30, 3 qubits, states within 1 MiB" in kernel.line(entry)


def test_deviations_see_what_is_wrong() -> None:
    truth = {"status": "checked", "values": [[0.5], [0.25]], "weights": [2.0, -4.0], "inputs": None}
    assert measuring.deviations(truth, truth) == {"values": 0.0, "weights": 0.0}
    wrong = truth | {"weights": [2.0, -3.0]}
    assert measuring.deviations(wrong, truth)["weights"] == 0.25
    assert measuring.deviations(truth | {"weights": None}, truth)["weights"] == np.inf
    assert measuring.deviations(truth | {"values": [[0.5]]}, truth)["values"] == np.inf


def test_every_peer_has_its_adapter_and_pinned_versions() -> None:
    for peer in peers.PEERS.values():
        assert (BENCHMARKS / f"{peer.module.replace('.', '/')}.py").exists()
        if peer.venv is not None:
            lines = (BENCHMARKS / "peers" / "requirements" / f"{peer.venv}.txt").read_text().split()
            assert lines
            assert all(line.count("==") == 1 for line in lines)


def test_the_useful_count_is_that_of_the_layers() -> None:
    workload = workloads.get("W3")
    amplitudes = prod((2**workload.num_qubits, workload.num_layers, workload.batch))
    assert workload.useful_fma == 134 * amplitudes
