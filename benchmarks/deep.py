"""Deep circuits and long epochs on the CPU, in single precision; every part in a process of its own.

    python benchmarks/deep.py                              # all parts: about four minutes on a quiet machine
    python benchmarks/deep.py --parts scale,epoch --json FILE.json
    python benchmarks/deep.py --parts lightning --layers 1000     # the peer in full, once: minutes

* ``scale``: 20 qubits, 1000 layers, 60,000 weights, one sample: planning, two gradients, peak memory; from a program
  and from a Qiskit circuit. ``lightning`` is the same step in PennyLane's lightning.qubit at a few depths, from which
  the time of 1000 layers is extended on a line.
* ``epoch``: 60,000 synthetic images in MNIST's files, 10 qubits, 20 layers: mini-batches are read as they are needed.
* ``accuracy``: single precision against double for 1 to 1000 layers.
* ``checkpoints``: undoing the gates against states kept on the way, and against computing them again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))  # python -P leaves the script's folder out

import machine  # noqa: E402
import trade  # noqa: E402
from layered import engine  # noqa: E402
from peers.__main__ import peak_mib  # noqa: E402

QUBITS, LAYERS = 20, 1000
IMAGES, SIDE, FEATURES, DEPTH, BATCH, CLASSES = 60_000, 28, 10, 20, 256, 10
LIGHTNING = (5, 10, 20)
"""Layers at which the peer is timed."""


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came of it."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def resident_mib() -> float:
    """Memory this process holds now, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def scale_program() -> dict[str, Any]:
    """The gradient from a program, as where Qiskit is not installed."""
    sys.modules["qiskit"] = None
    import qiskit_fusedqml.engine.program_function  # noqa: F401

    imported = peak_mib()
    lowering, f = timed(lambda: engine(QUBITS, LAYERS, "single"))
    return {"imported_mib": imported, "lowering_seconds": lowering} | _gradient(f, np.array([[1.0, 0.0]]))


def scale_circuit() -> dict[str, Any]:
    """The gradient from a Qiskit circuit."""
    import workloads
    from peers.qiskit_circuit import build

    from qiskit_fusedqml import DifferentiableCircuit

    workload = workloads.get(f"hea:n={QUBITS},L={LAYERS},B=1")
    imported = peak_mib()
    built = build(workload)
    circuit = peak_mib()
    seconds, f = timed(
        lambda: DifferentiableCircuit(
            built.circuit,
            built.observables,
            built.inputs,
            built.weights,
            precision="single",
            num_threads=machine.cores(),
        )
    )
    record = {"imported_mib": imported, "circuit_mib": circuit, "lowering_seconds": seconds}
    return record | _gradient(f, np.ones((1, 1)))


def _gradient(f: Any, cotangents: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x, w = rng.uniform(-1, 1, (1, f.num_inputs)), rng.uniform(-np.pi, np.pi, f.num_weights)
    planning, estimate = timed(lambda: f.memory_estimate(1))
    planned = peak_mib()
    seconds = []
    for _ in range(2):
        w = w + 0.01
        second, (_, _, gradient) = timed(lambda w=w: f.value_and_vjp(x, w, cotangents))
        seconds.append(second)
    return {
        "weights": f.num_weights,
        "planning_seconds": planning,
        "gradient_seconds": seconds,
        "estimate_mib": estimate.total / 2**20,
        "planned_mib": planned,
        "peak_mib": peak_mib(),
        "gradient_norm": float(np.linalg.norm(gradient)),
    }


def write_images(folder: Path) -> Path:
    """60,000 images and labels as MNIST's files have them: blurred random patterns, one kind a class."""
    rng = np.random.default_rng(7)
    patterns = rng.uniform(0, 200, (CLASSES, SIDE, SIDE))
    with (folder / "train-images-idx3-ubyte").open("wb") as images:
        images.write(bytes([0, 0, 8, 3]) + np.array([IMAGES, SIDE, SIDE], ">u4").tobytes())
        labels = rng.integers(CLASSES, size=IMAGES).astype(np.uint8)
        for first in range(0, IMAGES, 1000):
            noise = rng.normal(0, 30, (1000, SIDE, SIDE))
            images.write(np.clip(patterns[labels[first : first + 1000]] + noise, 0, 255).astype(np.uint8).tobytes())
    header = bytes([0, 0, 8, 1]) + np.array([IMAGES], ">u4").tobytes()
    (folder / "train-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    return folder


def epoch(folder: Path, epochs: int = 2) -> dict[str, Any]:
    """Epochs of mini-batches read from the files, the cross entropy of ten expectation values, Adam."""
    from qiskit_fusedqml.training.idx import IdxImages

    f = engine(FEATURES, DEPTH, "single", classes=CLASSES)
    rng = np.random.default_rng(0)
    projection = rng.normal(size=(SIDE * SIDE, FEATURES)) / SIDE
    images = IdxImages(folder, "train", lambda pixels: np.tanh((_rows(pixels) / 127.5 - 1.0) @ projection))
    w, mean, square, number = rng.uniform(-0.1, 0.1, f.num_weights), 0.0, 0.0, 0
    record: dict[str, Any] = {"epoch_seconds": [], "loss": [], "resident_mib": []}
    for _ in range(epochs):
        order, losses, start = rng.permutation(IMAGES), [], time.perf_counter()
        for first in range(0, IMAGES, BATCH):
            x, y = images[order[first : first + BATCH]]
            loss, gradient = f.value_and_grad(x, w, lambda values, y=y: cross_entropy(values, y))
            number += 1
            mean = 0.9 * mean + 0.1 * gradient
            square = 0.999 * square + 0.001 * gradient**2
            w = w - 0.02 * (mean / (1 - 0.9**number)) / (np.sqrt(square / (1 - 0.999**number)) + 1e-8)
            losses.append(loss)
            if number % 50 == 0:
                record["resident_mib"].append(resident_mib())
        record["epoch_seconds"].append(time.perf_counter() - start)
        record["loss"] += [float(np.mean(losses[:20])), float(np.mean(losses[-20:]))]
    return record | {"samples": IMAGES, "batch": BATCH, "weights": f.num_weights, "peak_mib": peak_mib()}


def _rows(pixels: Any) -> Any:
    return pixels.reshape(len(pixels), -1)


def cross_entropy(values: Any, labels: Any) -> tuple[float, Any]:
    """Of four times the values as logits; the last value is the norm, which does not count."""
    logits = 4.0 * np.asarray(values[:, :CLASSES], np.float64)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances = shifted / shifted.sum(axis=1, keepdims=True)
    rows, cotangents = np.arange(len(labels)), np.zeros(values.shape)
    cotangents[:, :CLASSES] = 4.0 * chances / len(labels)
    cotangents[rows, labels] -= 4.0 / len(labels)
    return float(-np.log(chances[rows, labels]).mean()), cotangents


def lightning(layers: tuple[int, ...], venvs: Path) -> dict[str, Any]:
    """Steps of the peer, and their extension to 1000 layers on a line."""
    from peers import PEERS
    from peers.session import Session

    seconds = {}
    for depth in layers:
        with Session(PEERS["lightning"], venvs, machine.cores()) as session:
            name, limit = f"hea:n={QUBITS},L={depth},B=1", 3600.0
            options = {"precision": "single", "threads": machine.cores(), "step_limit": limit}
            ready = session.ask("build", limit, workload=name, **options)
            seconds[depth] = ready["first_step_seconds"]
            if depth <= 100:
                seconds[depth] = min(session.ask("time", limit, first=1, steps=2, seconds=60.0)["seconds"])
            peak = session.ask("close", limit)["peak_mib"]
    record: dict[str, Any] = {"seconds": seconds, "peak_mib": peak, "of_1000_layers": seconds.get(LAYERS)}
    if LAYERS not in seconds:
        slope, offset = np.polyfit(list(seconds), list(seconds.values()), 1)
        record["of_1000_layers"] = float(slope * LAYERS + offset)
    return record | {"extended": LAYERS not in seconds}


def fresh(part: str, *more: str) -> Any:
    """A part in a process of its own."""
    command = [sys.executable, str(HERE / "deep.py"), "--inside", part, *more]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(answer.stdout.splitlines()[-1])


def measure(part: str, arguments: argparse.Namespace) -> Any:
    """One part."""
    if part == "scale":
        return {"program": fresh("scale_program"), "circuit": fresh("scale_circuit")}
    if part == "lightning":
        return lightning(tuple(map(int, arguments.layers.split(","))), arguments.venvs)
    if part == "epoch":
        with tempfile.TemporaryDirectory() as folder:
            return fresh("epoch", "--folder", str(write_images(Path(folder))))
    return fresh(part)


def inside(part: str, folder: Path | None) -> Any:
    """What a process of its own does."""
    if part == "epoch":
        assert folder is not None
        return epoch(folder)
    parts = {"scale_program": scale_program, "scale_circuit": scale_circuit}
    return (parts | {"accuracy": trade.accuracy, "checkpoints": trade.checkpoints})[part]()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="scale,lightning,epoch,accuracy,checkpoints")
    parser.add_argument("--layers", default=",".join(map(str, LIGHTNING)), help="at which lightning is timed")
    parser.add_argument("--venvs", type=Path, default=HERE / ".venvs", help="folder made by setup_peers.sh")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        print(json.dumps(inside(arguments.inside, arguments.folder)))
        return 0
    from run import write

    known = json.loads(arguments.json.read_text()) if arguments.json and arguments.json.exists() else {}
    for part in arguments.parts.split(","):
        before = machine.load()
        stamp = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": machine.commit(), "load": before}
        known[part] = stamp | {"results": measure(part, arguments)}
        known["machine"] = machine.describe()
        print(part, json.dumps(known[part], indent=1), flush=True)
        if arguments.json:
            write(known, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
