"""Parts of `deep.py`: where single precision loses accuracy, and what states kept on the way cost and bring."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from layered import engine

LAYERS = (1, 3, 10, 30, 100, 300, 1000)
QUBITS = (6, 10)
SEEDS = 3
TRADE = ({"num_qubits": 10, "layers": 1000, "batch": 16}, {"num_qubits": 17, "layers": 100, "batch": 1})
KEPT = (0, 1, 4, 16, 64)


def values_of(f: Any, batch: int, seed: int) -> tuple[Any, Any, Any]:
    """Inputs, weights and cotangents."""
    rng = np.random.default_rng(seed)
    x, w = rng.uniform(-1, 1, (batch, f.num_inputs)), rng.uniform(-np.pi, np.pi, f.num_weights)
    return x, w, np.tile([1.0, 0.0], (batch, 1))


def relative(found: Any, expected: Any) -> float:
    """How far a gradient is off, relative to its norm."""
    return float(np.linalg.norm(np.asarray(found, np.float64) - expected) / np.linalg.norm(expected))


def accuracy() -> list[dict[str, Any]]:
    """Single against double: the gradient's error relative to its norm, the value's, and how far the norm drifts."""
    rows = []
    for axes in ("xyz", "y"):
        for n in QUBITS:
            for layers in LAYERS:
                double, single = (engine(n, layers, p, axes) for p in ("double", "single"))
                kept = engine(n, layers, "single", axes, checkpoint=16)
                found: list[Sequence[float]] = []
                for seed in range(SEEDS):
                    given = values_of(double, 2, seed)
                    (v, _, g), (value, _, gradient) = (f.value_and_vjp(*given) for f in (double, single))
                    again = kept.value_and_vjp(*given)[2]
                    drift, off = abs(value[:, 1] - 1.0).max(), abs(value[:, 0] - v[:, 0]).max()
                    found.append((relative(gradient, g), relative(again, g), float(off), float(drift)))
                names = ("gradient", "gradient_16_checkpoints", "value", "norm_drift")
                worst = dict(zip(names, np.max(found, axis=0).tolist(), strict=True))
                rows.append({"axes": axes, "qubits": n, "layers": layers} | worst)
    return rows


def checkpoints() -> list[dict[str, Any]]:
    """Seconds of a gradient and its error: undoing, with states kept, and with states computed again.

    ``kept`` states take the place of the undone ones. ``recomputed``: from each of so many kept states the piece that
    follows is computed again, and all states in it are kept until it has been undone, so that nothing is undone
    further than from one place to the next (the trade of Kawase 2026, arXiv:2603.02804).
    """
    rows = []
    for shape in TRADE:
        n, layers, batch = shape["num_qubits"], shape["layers"], shape["batch"]
        double = engine(n, layers, "double")
        given = values_of(double, batch, 0)
        seconds, (_, _, expected) = _fastest(lambda double=double, given=given: double.value_and_vjp(*given))
        rows.append(shape | {"way": "undone, double precision", "seconds": seconds, "error": 0.0})
        for count in KEPT:
            f = engine(n, layers, "single", checkpoint=count)
            seconds, (_, _, gradient) = _fastest(lambda f=f, given=given: f.value_and_vjp(*given))
            way = f"{count} kept" if count else "undone"
            rows.append(shape | {"way": way, "seconds": seconds, "error": relative(gradient, expected)})
        for count in KEPT[2:4]:
            f = engine(n, layers, "single")
            seconds, gradient = _fastest(lambda f=f, given=given, count=count: recomputed(f, *given, count))
            way = f"recomputed from {count}"
            rows.append(shape | {"way": way, "seconds": seconds, "error": relative(gradient, expected)})
    return rows


def recomputed(f: Any, x: Any, w: Any, cotangents: Any, count: int) -> Any:
    """The gradient of the weights, each kept state's piece computed again with all its states kept."""
    from qiskit_fusedqml.engine.parameters import ParameterSet, parameter_batch
    from qiskit_fusedqml.engine.sweeps import PlanRequest
    from qiskit_fusedqml.planner.segments import cut

    device = f.device
    rows = parameter_batch(np.asarray(x), np.asarray(w))
    weights = ParameterSet(np.arange(f.num_inputs, f.num_inputs + f.num_weights))
    sweeps = f.plans.planned(PlanRequest(rows.batched, weights, rows.batch, populations=True))
    tape, kinds = sweeps.tape, sweeps.plan.tables.pair_kinds
    residuals = sweeps.map.bind(rows)
    inner = max(sweeps.num_places // (count + 1), 1)
    pieces = cut(tape, kinds, (count + 1) * inner)
    ket, starts = device.allocate(tape, rows.batch, None), []
    for number, piece in enumerate(pieces):
        if number % inner == 0:
            starts.append(device.copy(ket))
        device.forward(piece.tape, residuals.bound.coefficients, ket)
    bra = device.apply_observables(ket, tape.frame, f.observables, cotangents)
    overlaps = []
    for group in reversed(range(len(starts))):
        ket, kept = starts.pop(), []
        own = pieces[group * inner : (group + 1) * inner]
        for piece in own:
            device.forward(piece.tape, residuals.bound.coefficients, ket)
            kept.append(device.copy(ket))
        for piece, state in zip(reversed(own), reversed(kept), strict=True):
            sums = device.backward(piece.tape, residuals.bound.coefficients, state, bra, per_sample=False)
            overlaps.append(sums)
    return sweeps.map.pullback(residuals, np.concatenate(overlaps[::-1]), per_sample=False)[0][f.num_inputs :]


def _fastest(call: Any, repeats: int = 3) -> tuple[float, Any]:
    """Seconds of the fastest of a few, after one that does not count."""
    result, best = call(), float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        best = min(best, time.perf_counter() - start)
    return best, result
