"""Public calls with wrong arguments: ``make fuzz`` spends five minutes on them and prints the seed of each finding.

A case is a public call with one or two of its arguments replaced by a value that does not belong there. It may succeed,
or raise a ValueError, a TypeError or an error of this package, of Qiskit, or of the class that it stands in for;
anything else is a finding, as are a crash and a call that does not return. Cases run in a process of their own, so that
the next one is tried after a crash, too. `test_fuzz_arguments` runs some of the seeds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

Arguments = dict[str, Any]
Case = tuple[str, Callable[..., Any], Arguments]

LIMIT_SECONDS = 60
"""A case that takes longer hangs."""

UNCLEAR = ("zip() argument", "values to unpack")
"""Words of Python and NumPy that say nothing about an argument."""


def wrong_values(rng: np.random.Generator) -> list[Any]:
    """Values that belong nowhere, or that only look right."""
    from qiskit import QuantumCircuit
    from qiskit.circuit import Parameter
    from qiskit.quantum_info import SparsePauliOp

    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    return [
        None, True, -1, 0, 1, 2**31, 2**63, 2**64, -(2**70), 10**400, 0.5, -0.0, 1e300, 1e-300, float("nan"),
        float("inf"), -float("inf"), 1j, complex("nan"), "", "x", "²", "double ", "GPUs", "00", "Z0", b"z", bytes(3),
        [], [[]], [[[]]], (), {}, set(), {"a": []}, [None], ["z"], [1, [2, 3]], [float("inf")], [1e200] * 4, [1j],
        [2**70], range(3), iter([1.0]), (n for n in range(2)), object(), object, lambda *_: None, NotImplemented, ...,
        np.int8(100), np.uint64(2**63), np.float16(1.5), np.bool_(True), np.array(1.0), np.empty((0, 4)),
        np.empty((3, 0)), np.zeros((1, 1, 1, 1)), np.zeros(5), np.full(4, np.nan), np.array(["a", "b"]),
        np.array([object()]), np.ma.masked_all(4), np.zeros((2, 4), dtype=complex), np.zeros(4, dtype=bool),
        np.zeros(4, dtype="datetime64[s]"), np.zeros((2, 3)), np.zeros((4, 4)), Path("no-such-folder/x"), deep,
        QuantumCircuit(), QuantumCircuit(1), QuantumCircuit(2, 70), Parameter("stranger"), SparsePauliOp("Z" * 3),
        SparsePauliOp("ZZ", 1j), np.random.default_rng(0), rng,
    ]  # fmt: skip


def circuits() -> dict[str, Any]:
    """A circuit of two inputs and three weights on two qubits, in the forms that calls take."""
    from qiskit import QuantumCircuit
    from qiskit.circuit import ParameterVector

    x, w = ParameterVector("x", 2), ParameterVector("w", 3)
    circuit = QuantumCircuit(2)
    circuit.ry(x[0], 0)
    circuit.ry(x[1], 1)
    circuit.rx(w[0], 0)
    circuit.cx(0, 1)
    circuit.rz(w[1], 1)
    circuit.crx(w[2], 1, 0)
    measured = circuit.copy()
    measured.measure_all()
    return {
        "x": list(x),
        "w": list(w),
        "circuit": circuit,
        "measured": measured,
        "bound": measured.assign_parameters([0.1, 0.2, 0.3, 0.4, 0.5]),
    }


def cases(folder: Path) -> Iterator[Case]:
    """Public calls with arguments that are right: name, function, keyword arguments."""
    yield from engine_cases()
    yield from qiskit_cases()
    yield from learning_cases()
    yield from file_cases(folder)
    yield from pennylane_cases()


def engine_cases() -> Iterator[Case]:
    """The engine, sharded and not."""
    from qiskit_fusedqml import DifferentiableCircuit, ShardedCircuit

    c = circuits()
    options = {"precision": "double", "num_threads": 1, "max_memory_mb": 64.0, "checkpoint": None, "device": "CPU"}
    made = {"circuit": c["circuit"], "observables": ["ZZ", "XI"], "inputs": c["x"], "weights": c["w"]}
    yield "DifferentiableCircuit", DifferentiableCircuit, {**made, "input_gradients": True, **options}
    f = DifferentiableCircuit(**made, input_gradients=True, num_threads=1)
    x, w, cotangents = np.zeros((3, 2)), np.zeros(3), np.ones((3, 2))
    for name in ("values", "probabilities", "statevector"):
        yield f"DifferentiableCircuit.{name}", getattr(f, name), {"x": x, "w": w}
    yield "DifferentiableCircuit.vjp", lambda x, w, c: f.vjp(x, w)[1](c), {"x": x, "w": w, "c": cotangents}
    yield "DifferentiableCircuit.value_and_vjp", f.value_and_vjp, {"x": x, "w": w, "cotangents": cotangents}
    yield "DifferentiableCircuit.value_and_grad", f.value_and_grad, {"x": x, "w": w, "loss": lambda v: (v.sum(), v)}
    yield "DifferentiableCircuit.jacobian", f.jacobian, {"x": x, "w": w, "wrt": "weights"}
    yield "DifferentiableCircuit.memory_estimate", f.memory_estimate, {"batch": 3}
    yield "ShardedCircuit", ShardedCircuit, {"function": f, "executor": ThreadPoolExecutor(1), "shards": 2}
    sharded = ShardedCircuit(f, ThreadPoolExecutor(1), shards=2)
    yield "ShardedCircuit.value_and_vjp", sharded.value_and_vjp, {"x": x, "w": w, "cotangents": cotangents}


def qiskit_cases() -> Iterator[Case]:
    """Backend, primitives, transpiler."""
    from qiskit_fusedqml import FusedEstimator, FusedGate, FusedSampler, FusedSimulator, FusionPass, transpile

    c = circuits()
    five = [0.1, 0.2, 0.3, 0.4, 0.5]
    options = {"precision": "double", "max_memory_mb": 64.0, "device": "CPU"}
    backend = {**options, "seed_simulator": 1, "shots": 100, "max_parallel_threads": 1, "fusion_enable": True}
    yield "FusedSimulator", FusedSimulator, backend
    yield "FusedSimulator.run", _ran, {"circuits": c["bound"], "shots": 10, "seed_simulator": 1, "memory": True}
    binds = {"circuits": c["measured"], "parameter_binds": [{p: [0.1] for p in c["measured"].parameters}]}
    yield "FusedSimulator.run, bound", _ran, {**binds, "shots": 10}
    yield "FusedEstimator", FusedEstimator, {"default_precision": 0.0, "seed": 1, "num_threads": 1, **options}
    yield "FusedSampler", FusedSampler, {"default_shots": 10, "seed": 1, "num_threads": 1, **options}
    pub = {"circuit": c["circuit"], "observables": "ZZ", "values": five}
    yield "FusedEstimator.run", _estimated, {**pub, "precision": 0}
    yield "FusedSampler.run", _sampled, {"circuit": c["measured"], "values": five, "shots": 10}
    yield "transpile", transpile, {"circuits": c["bound"], "backend": FusedSimulator(), "optimization_level": 1}
    yield "transpile, passes", transpile, {"circuits": c["circuit"], "passes": [FusionPass]}
    yield "FusionPass", _fused, {"max_qubits": 2, "min_gates": 2, "barriers": "keep"}
    yield "FusedGate", FusedGate, {"body": c["circuit"], "params": five, "label": "x"}


def _ran(**arguments: Any) -> Any:
    from qiskit_fusedqml import FusedSimulator

    result = FusedSimulator(max_memory_mb=64).run(**arguments).result()
    return [result.get_counts(k) for k in range(len(result.results))] if result.success else result.status


def _estimated(circuit: Any, observables: Any, values: Any, precision: Any) -> Any:
    from qiskit_fusedqml import FusedEstimator

    estimator = FusedEstimator(max_memory_mb=64)
    return estimator.run([(circuit, observables, values)], precision=precision).result()[0].data.evs


def _sampled(circuit: Any, values: Any, shots: Any) -> Any:
    from qiskit_fusedqml import FusedSampler

    return FusedSampler(max_memory_mb=64).run([(circuit, values)], shots=shots).result()[0].data


def _fused(**arguments: Any) -> Any:
    from qiskit.transpiler import PassManager

    from qiskit_fusedqml import FusionPass

    return PassManager([FusionPass(**arguments)]).run(circuits()["circuit"])


def learning_cases() -> Iterator[Case]:
    """Gradients, networks, kernels, the layer."""
    import torch
    from qiskit.quantum_info import SparsePauliOp
    from qiskit_machine_learning.gradients import DerivativeType

    from qiskit_fusedqml import (
        FusedEstimatorGradient,
        FusedEstimatorQNN,
        FusedFidelity,
        FusedFidelityKernel,
        FusedLayer,
        FusedQGT,
        FusedSamplerGradient,
        FusedSamplerQNN,
    )

    c = circuits()
    one = {"circuits": [c["circuit"]], "parameter_values": [[0.1] * 5], "parameters": [c["w"]]}
    observable = SparsePauliOp("ZZ")
    kind = DerivativeType.REAL
    yield (
        "FusedEstimatorGradient",
        FusedEstimatorGradient,
        {"estimator": None, "options": None, "derivative_type": kind},
    )
    gradient = FusedEstimatorGradient()
    yield "FusedEstimatorGradient.run", lambda **k: gradient.run(**k).result(), {**one, "observables": [observable]}
    measured = {**one, "circuits": [c["measured"]]}
    yield "FusedSamplerGradient.run", lambda **k: FusedSamplerGradient().run(**k).result(), measured
    yield "FusedQGT.run", lambda **k: FusedQGT().run(**k).result(), one
    network = {"circuit": c["circuit"], "input_params": c["x"], "weight_params": c["w"], "input_gradients": True}
    yield "FusedEstimatorQNN", FusedEstimatorQNN, {**network, "observables": observable, "num_threads": 1}
    yield "FusedSamplerQNN", FusedSamplerQNN, {**network, "sparse": False, "interpret": None, "output_shape": None}
    x, w = np.zeros((3, 2)), np.zeros(3)
    for made in (FusedEstimatorQNN(**network), FusedSamplerQNN(**network)):
        yield f"{type(made).__name__}.forward", made.forward, {"input_data": x, "weights": w}
        yield f"{type(made).__name__}.backward", made.backward, {"input_data": x, "weights": w}
    features = c["circuit"].assign_parameters(dict(zip(c["w"], [0.1, 0.2, 0.3], strict=True)))
    yield "FusedFidelityKernel", FusedFidelityKernel, {"feature_map": features, "cache_size": 3, "num_threads": 1}
    kernel = FusedFidelityKernel(feature_map=features)
    yield "FusedFidelityKernel.evaluate", kernel.evaluate, {"x_vec": x, "y_vec": x}
    pair = {"circuits_1": [features], "circuits_2": [features], "values_1": [[0.1, 0.2]], "values_2": [[0.3, 0.4]]}
    yield "FusedFidelity.run", lambda **k: FusedFidelity().run(**k).result(), pair
    layer = {"circuit": c["circuit"], "observables": ["ZZ"], "inputs": c["x"], "weights": c["w"]}
    yield "FusedLayer", FusedLayer, {**layer, "initial_weights": [0.1, 0.2, 0.3], "dtype": torch.float64}
    yield "FusedLayer.forward", FusedLayer(**layer), {"x": torch.zeros(3, 2)}


def file_cases(folder: Path) -> Iterator[Case]:
    """What is read from and written to folders."""
    import torch

    from qiskit_fusedqml import fit
    from qiskit_fusedqml.ir.program import Program
    from qiskit_fusedqml.training import IdxImages, plot, read_metrics

    data = torch.utils.data.TensorDataset(torch.zeros(4, 2), torch.zeros(4, 1))

    def trained(**arguments: Any) -> Any:
        model = torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return fit(model, optimizer, torch.nn.functional.mse_loss, **arguments)

    junk = folder / "junk"
    junk.write_bytes(bytes(range(256)))
    settings = {"data": data, "epochs": 1, "batch_size": 2, "seed": 0, "save_every": 1, "schedule_by": "step"}
    yield "fit", trained, {**settings, "folder": folder / "run", "progress": False, "callback": None}
    yield "IdxImages", IdxImages, {"folder": junk, "split": "train"}
    yield "read_metrics", read_metrics, {"folder": junk}
    yield "plot", plot, {"folder": junk}
    yield "Program.load", Program.load, {"path": junk}


def pennylane_cases() -> Iterator[Case]:
    """The PennyLane device."""
    import pennylane as qml

    from qiskit_fusedqml import FusedQubit

    options = {"wires": 2, "shots": None, "seed": 1, "device": "CPU", "precision": "double", "num_threads": 1}

    def executed(angle: Any, **arguments: Any) -> Any:
        @qml.qnode(FusedQubit(**arguments))
        def node(theta: Any) -> Any:
            qml.RX(theta, 0)
            return qml.expval(qml.PauliZ(0))

        return node(angle)

    yield "FusedQubit", FusedQubit, {**options, "max_memory_mb": 64.0}
    yield "FusedQubit, executed", executed, {"angle": 0.1, **options}


def allowed(error: BaseException) -> bool:
    """Whether an error is one that a caller can expect."""
    from pennylane.exceptions import DeviceError, WireError
    from qiskit.exceptions import QiskitError
    from qiskit_machine_learning.exceptions import QiskitMachineLearningError

    families = (ValueError, TypeError, QiskitError, QiskitMachineLearningError, DeviceError, WireError)
    if isinstance(error, OSError):
        return error.filename is not None
    # JSON and Unicode errors are ValueErrors that name neither file nor argument
    return isinstance(error, families) and type(error).__module__ not in {"json.decoder", "zipfile"}


def mutated(seed: int, listed: list[Case]) -> tuple[str, Callable[..., Any], Arguments]:
    """The case of a seed: its description, the function and its arguments."""
    rng = np.random.default_rng(seed)
    name, function, arguments = listed[seed % len(listed)]
    values, replaced, words = wrong_values(rng), dict(arguments), []
    for key in rng.choice(list(arguments), size=min(int(rng.integers(1, 3)), len(arguments)), replace=False):
        value = values[int(rng.integers(len(values)))]
        if key == "epochs" and isinstance(value, int) and value > 10:
            continue  # takes as long as was asked for
        replaced[str(key)] = value
        words.append(f"{key}={repr(value)[:60]}")
    return f"seed {seed}: {name}({', '.join(words)})", function, replaced


def attempt(seed: int, listed: list[Case]) -> str | None:
    """Run a case; what is wrong with the outcome, or None."""
    described, function, arguments = mutated(seed, listed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function(**arguments)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 (what is not expected is what is looked for)
        if not allowed(error) or any(words in str(error) for words in UNCLEAR):
            return f"{described}: {type(error).__name__}: {error}"[:600]
    return None


def work(connection: Connection) -> None:
    """Run the seeds that arrive, and send what was found."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # some of the wrong values are paths
        listed = list(cases(Path(folder)))
        connection.send("ready")
        for seed in iter(connection.recv, None):
            connection.send(attempt(seed, listed))


class Worker:
    """A process that runs cases and is replaced when it crashes or hangs."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=work, args=(other,), daemon=True)
        self._process.start()
        other.close()
        self._connection.recv()

    def run(self, seed: int) -> str | None:
        """What is wrong with the outcome of a case, or None."""
        try:
            self._connection.send(seed)
            if self._connection.poll(LIMIT_SECONDS):
                found: str | None = self._connection.recv()
                return found
            outcome = f"seed {seed}: no answer after {LIMIT_SECONDS} s"
        except (EOFError, OSError):
            self._process.join()
            outcome = f"seed {seed}: the process ended with exit code {self._process.exitcode}"
        self.stop()
        self._start()
        return outcome

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._connection.close()


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="this case only, in this process, with its traceback")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        with tempfile.TemporaryDirectory() as folder:
            described, function, values = mutated(arguments.seed, list(cases(Path(folder))))
            print(described, flush=True)
            print(function(**values))
        return 0
    worker, seed, failures = Worker(), arguments.first, 0
    end = time.monotonic() + arguments.seconds
    while time.monotonic() < end:
        found = worker.run(seed)
        if found is not None:
            failures += 1
            print(found, flush=True)
        seed += 1
    worker.stop()
    count = seed - arguments.first
    print(f"{count} calls with wrong arguments, {failures} findings, seeds {arguments.first} to {seed - 1}")
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main())
