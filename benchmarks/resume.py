"""A training run that is killed and resumed, beside one that is not: are they the same run?

``python benchmarks/resume.py [--minutes 10] [--kills 3] [--json FILE]`` (extra ``torch``). A circuit of 10 qubits and
10 layers with dropout and a linear layer after it learns images of MNIST's format, streamed from a file that the script
writes. One process trains to the end; then others do the same in another folder, and all but the last are killed
(SIGKILL) in the middle of an epoch, wherever they happen to be. Weights, losses and learning rates are compared bit
for bit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import random
import shutil
import struct
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import machine
import numpy as np

from qiskit_fusedqml.training import read_metrics
from qiskit_fusedqml.training.checkpoint import load_checkpoint

SAMPLES, BATCH, LAYERS = 12_000, 32, 10
CHECKPOINT = "checkpoint.pt"


def write_images(folder: Path, samples: int) -> None:
    """Ten kinds of noisy stripes, 28 x 28 pixels, as MNIST's training images are kept."""
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 10, samples).astype(np.uint8)
    grid = np.add.outer(np.arange(28), np.arange(28) * 2)
    stripes = 120 * (1 + np.sin(grid[None] * np.linspace(0.1, 1.2, 10)[:, None, None]))
    images = np.clip(stripes[labels] + rng.normal(0, 30, (samples, 28, 28)), 0, 255).astype(np.uint8)
    (folder / "train-images-idx3-ubyte").write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, *images.shape) + images.tobytes())
    (folder / "train-labels-idx1-ubyte").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, samples) + labels.tobytes())


def features(images: np.ndarray) -> np.ndarray:
    """Images (B, 28, 28) -> angles (B, 10): means of ten bands along the diagonals' direction."""
    flat = images.reshape(len(images), -1)[:, :780].reshape(len(images), 10, 78)
    return (flat.astype(np.float32).std(axis=2) / 40).astype(np.float32)


def train(data: Path, folder: Path, epochs: int, layers: int, save_seconds: float) -> None:
    """The run, from the beginning or from where it was cut off."""
    import torch

    from qiskit_fusedqml import FusedLayer
    from qiskit_fusedqml.demo.network import classifier_circuit
    from qiskit_fusedqml.training import IdxImages, fit

    torch.set_num_threads(1)
    torch.manual_seed(5)
    qubits = 10
    circuit, x, _ = classifier_circuit(qubits, layers)
    observables = ["I" * q + "Z" + "I" * (qubits - 1 - q) for q in range(qubits)]
    layer = FusedLayer(circuit, observables, inputs=x, precision="single")
    model = torch.nn.Sequential(layer, torch.nn.Dropout(0.1), torch.nn.Linear(qubits, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    fit(
        model,
        optimizer,
        torch.nn.CrossEntropyLoss(),
        IdxImages(data, "train", features),
        epochs=epochs,
        batch_size=BATCH,
        seed=3,
        scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 100, 0.99),
        folder=folder,
        save_every=timedelta(seconds=save_seconds),
        progress=False,
    )


def steps_taken(folder: Path) -> int:
    """Finished steps, of which the metrics tell while a run goes on."""
    path = folder / "metrics.jsonl"
    return max((record["step"] for record in read_metrics(path)), default=0) if path.exists() else 0


def train_and_kill(context: BaseContext, arguments: tuple[Any, ...], kill_steps: Sequence[int]) -> list[dict[str, int]]:
    """Start the run again and again, and kill it when it has taken so many steps; the last time it may finish."""
    folder, kills = arguments[1], []
    for target in kill_steps:
        process = context.Process(target=train, args=arguments)
        process.start()
        while process.is_alive() and steps_taken(folder) < target:
            time.sleep(0.02)
        process.kill()
        process.join()
        if process.exitcode != -9:
            raise SystemExit(f"The process ended by itself with {process.exitcode} before step {target}.")
        kills.append({"killed_after_step": steps_taken(folder), "resumed_from_step": checkpoint_step(folder)})
        print("killed:", kills[-1], flush=True)
    process = context.Process(target=train, args=arguments)
    process.start()
    process.join()
    if process.exitcode != 0:
        raise SystemExit(f"The training ended with {process.exitcode}.")
    return kills


def checkpoint_step(folder: Path) -> int:
    """The step from which a run would be resumed."""
    path = folder / CHECKPOINT
    if not path.exists():
        return 0
    return int(load_checkpoint(path)["place"]["step"])


def weights_hash(folder: Path) -> str:
    """SHA-256 of all weights."""
    digest = hashlib.sha256()
    for name, weights in sorted(load_checkpoint(folder / CHECKPOINT)["model"].items()):
        digest.update(name.encode() + weights.numpy().tobytes())
    return digest.hexdigest()


def trajectory(folder: Path) -> list[dict[str, Any]]:
    """Metrics without what a clock has measured."""
    return [
        {name: value for name, value in record.items() if name not in ("seconds", "samples_per_second")}
        for record in read_metrics(folder)
    ]


def compare(
    context: BaseContext, work: Path, *, samples: int, epochs: int, layers: int, kills: int, save_seconds: float
) -> dict[str, Any]:
    """Train without and with kills; what is found."""
    write_images(work, samples)
    rng, total = random.Random(11), epochs * -(-samples // BATCH)
    share = total / (kills + 1)
    kill_steps = [int(share * (k + rng.uniform(0.6, 1.0))) for k in range(kills)]
    found: dict[str, Any] = {"samples": samples, "batch": BATCH, "epochs": epochs, "steps": total, "layers": layers}
    for name, chosen in (("uninterrupted", []), ("killed", kill_steps)):
        folder, began = work / name, time.perf_counter()
        told = train_and_kill(context, (work, folder, epochs, layers, save_seconds), chosen)
        found[name] = {
            "seconds": round(time.perf_counter() - began, 1),
            "kills": told,
            "weights_sha256": weights_hash(folder),
            "last_loss": trajectory(folder)[-1]["mean_loss"],
        }
    found["same_weights"] = found["uninterrupted"]["weights_sha256"] == found["killed"]["weights_sha256"]
    found["same_trajectory"] = trajectory(work / "uninterrupted") == trajectory(work / "killed")
    return found


def seconds_per_epoch(context: BaseContext, work: Path, samples: int, layers: int) -> float:
    """Time of one epoch, from a run of two epochs."""
    write_images(work, samples)
    train_and_kill(context, (work, work / "timing", 2, layers, 60.0), [])
    seconds = [record["seconds"] for record in read_metrics(work / "timing") if "seconds" in record]
    return float(seconds[-1])


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the uninterrupted run")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    work = Path(tempfile.mkdtemp(prefix="resume-"))
    try:
        epoch = seconds_per_epoch(context, work, SAMPLES, LAYERS)
        epochs = max(2, round(60 * arguments.minutes / epoch))
        print(f"{epoch:.1f} s an epoch; {epochs} epochs", flush=True)
        result: dict[str, Any] = {
            "command": f"python benchmarks/resume.py --minutes {arguments.minutes:g} --kills {arguments.kills}",
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": machine.commit(),
            "machine": machine.describe(),
            "result": compare(
                context,
                work,
                samples=SAMPLES,
                epochs=epochs,
                layers=LAYERS,
                kills=arguments.kills,
                save_seconds=20.0,
            ),
        }
    finally:
        shutil.rmtree(work)
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    if not (result["result"]["same_weights"] and result["result"]["same_trajectory"]):
        raise SystemExit("The two runs differ.")


if __name__ == "__main__":
    main()
