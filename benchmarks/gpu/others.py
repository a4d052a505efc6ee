"""One step of a case by other means: triton-qml, and gate by gate with PyTorch or CuPy; prints a line of JSON.

`run.py` starts it as a process of its own, so that a peer that fails or compiles for minutes takes nothing else with
it. The step is that of our device: values and the gradient of their sum with respect to the shared angles, for the
layered circuit of `cases.program`.

``gates`` applies each gate to the whole batch in place and takes the gradients on the way back, uncomputing ket and
bra, so that it needs two states whatever the depth; with arrays of PyTorch or CuPy (with NumPy's, in the tests).
``triton-qml`` (0.1.0, if it can be imported) runs at most four neighbouring qubits' rotations in one fused call and
the ring of CX in another, and saves the state of every call for its backward pass.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent)]
sys.path.append(str(Path(__file__).resolve().parent.parent.parent))

import standin  # noqa: E402

standin.install()

import cases  # noqa: E402
import numpy as np  # noqa: E402

PEERS = ("triton-qml", "torch", "cupy", "numpy")
GROUP = 4
"""Qubits of a fused call of triton-qml: the most it allows."""

Step = Callable[[], tuple[Any, Any]]
"""A training step: values (B,) and the gradient (L, n, 3) of their sum, as arrays of the peer."""


def rotate(state: Any, n: int, q: int, axis: int, c: Any, s: Any) -> None:
    """Multiply by exp(-1j theta / 2 P) in place, P = X, Y, Z for axis 0, 1, 2; c, s: cosine and sine of theta / 2."""
    pairs = state.reshape(-1, 2 ** (n - q - 1), 2, 2**q)
    a, b = pairs[:, :, 0], pairs[:, :, 1]
    if axis == 2:
        a *= c - 1j * s
        b *= c + 1j * s
        return
    factor = -1j * s if axis == 0 else -s
    new = c * a + factor * b
    pairs[:, :, 1] = c * b + (factor if axis == 0 else -factor) * a
    pairs[:, :, 0] = new


def overlap(ket: Any, bra: Any, n: int, q: int, axis: int) -> Any:
    """Im <bra| P |ket>, summed over the batch."""
    shape = (-1, 2 ** (n - q - 1), 2, 2**q)
    k, b = ket.reshape(*shape), bra.reshape(*shape).conj()
    same, other = (b[:, :, 0], b[:, :, 1]), (k[:, :, 0], k[:, :, 1])
    if axis == 0:
        total = same[0] * other[1] + same[1] * other[0]
    elif axis == 1:
        total = 1j * (same[1] * other[0] - same[0] * other[1])
    else:
        total = same[0] * other[0] - same[1] * other[1]
    return total.sum().imag


def exchange(state: Any, n: int, control: int, target: int) -> None:
    """A CX in place."""
    high, low = max(control, target), min(control, target)
    cube = state.reshape(-1, 2 ** (n - high - 1), 2, 2 ** (high - low - 1), 2, 2**low)
    first = (
        (slice(None), slice(None), 1, slice(None), 0) if control == high else (slice(None),) * 2 + (0, slice(None), 1)
    )
    second = (slice(None), slice(None), 1, slice(None), 1)
    kept = cube[first] + 0
    cube[first] = cube[second]
    cube[second] = kept


def by_gates(backend: Any, case: cases.Case, samples: int) -> Step:
    """The step gate by gate; the backend makes arrays and knows how to write cos and sin."""
    n, layers = case.num_qubits, case.layers
    x, w = backend.reals(case.inputs[:samples]), case.weights
    # Python's numbers take the precision of the state they meet
    cosines, sines = np.cos(w / 2).tolist(), np.sin(w / 2).tolist()
    signs = backend.reals(np.mean([1.0 - 2.0 * (np.arange(2**n) >> q & 1) for q in range(n)], axis=0))

    def step() -> tuple[Any, Any]:
        ket = backend.zeros((samples, 2**n))
        ket[:, 0] = 1
        for q in range(n):
            half = (x[:, q] / 2).reshape(-1, 1, 1)
            rotate(ket, n, q, 1, backend.cos(half), backend.sin(half))
        for layer in range(layers):
            for q in range(n):
                for axis in range(3):
                    rotate(ket, n, q, axis, cosines[layer][q][axis], sines[layer][q][axis])
            for q in range(n):
                exchange(ket, n, q, (q + 1) % n)
        values = (abs(ket) ** 2 * signs).sum(1)
        bra = ket * signs
        gradient = backend.reals(np.zeros((layers, n, 3)))
        for layer in reversed(range(layers)):
            for q in reversed(range(n)):
                exchange(ket, n, q, (q + 1) % n)
                exchange(bra, n, q, (q + 1) % n)
            for q in reversed(range(n)):
                for axis in reversed(range(3)):
                    gradient[layer, q, axis] = overlap(ket, bra, n, q, axis)
                    for state in (ket, bra):
                        rotate(state, n, q, axis, cosines[layer][q][axis], -sines[layer][q][axis])
        return values, gradient

    return step


class Arrays:
    """NumPy, or CuPy, which has the same functions."""

    def __init__(self, xp: Any, single: bool) -> None:
        self.xp = xp
        self.real, self.complex = (xp.float32, xp.complex64) if single else (xp.float64, xp.complex128)
        self.cos, self.sin = xp.cos, xp.sin

    def reals(self, array: np.ndarray) -> Any:
        """An array of real numbers."""
        return self.xp.asarray(array, dtype=self.real)

    def zeros(self, shape: tuple[int, ...]) -> Any:
        """An array of complex zeros."""
        return self.xp.zeros(shape, dtype=self.complex)

    def finish(self) -> None:
        """Wait for the device."""
        if hasattr(self.xp, "cuda"):
            self.xp.cuda.get_current_stream().synchronize()

    def host(self, array: Any) -> np.ndarray:
        """As a NumPy array."""
        return np.asarray(self.xp.asnumpy(array) if hasattr(self.xp, "asnumpy") else array)


class Tensors:
    """PyTorch on a GPU, or on the CPU where there is none."""

    def __init__(self, single: bool) -> None:
        import torch

        torch.set_grad_enabled(False)
        self.torch = torch
        self.place = "cuda" if torch.cuda.is_available() else "cpu"
        self.real, self.complex = (torch.float32, torch.complex64) if single else (torch.float64, torch.complex128)
        self.cos, self.sin = torch.cos, torch.sin

    def reals(self, array: np.ndarray) -> Any:
        """An array of real numbers."""
        return self.torch.tensor(array, dtype=self.real, device=self.place)

    def zeros(self, shape: tuple[int, ...]) -> Any:
        """An array of complex zeros."""
        return self.torch.zeros(shape, dtype=self.complex, device=self.place)

    def finish(self) -> None:
        """Wait for the device."""
        if self.place == "cuda":
            self.torch.cuda.synchronize()

    @staticmethod
    def host(tensor: Any) -> np.ndarray:
        """As a NumPy array."""
        return np.asarray(tensor.detach().cpu().numpy())


def by_triton_qml(tensors: Tensors, case: cases.Case, samples: int) -> Step:
    """The step by triton-qml, differentiated by PyTorch."""
    from triton_qml.simulator import FunctionalQuantumSimulator

    n, single = case.num_qubits, case.precision == "single"
    simulator = FunctionalQuantumSimulator(n, device=tensors.place, dtype_str="float32" if single else "float64")
    x, w = tensors.reals(case.inputs[:samples]), tensors.reals(case.weights)
    groups = [range(first, min(first + GROUP, n)) for first in range(0, n, GROUP)]
    strings = ["".join("Z" if k == q else "I" for k in range(n)) for q in range(n)]
    ring = [[q, (q + 1) % n] for q in range(n)]

    def step() -> tuple[Any, Any]:
        with tensors.torch.enable_grad():
            angles = w.clone().requires_grad_()
            psi = simulator.create_initial_state(samples)
            for group in groups:
                operations = [["ry", q, x[:, q].contiguous()] for q in group]
                psi = simulator.apply_1q2q_pauli_rotation_gate_sequence(psi, operations)
            for layer in range(case.layers):
                for group in groups:
                    operations = [
                        [name, q, angles[layer, q, k]] for q in group for k, name in enumerate(("rx", "ry", "rz"))
                    ]
                    psi = simulator.apply_1q2q_pauli_rotation_gate_sequence(psi, operations)
                psi = simulator.apply_fused_cnot_gate(psi, ring)
            values = sum(simulator.calc_exp_val(psi, string) for string in strings) / n
            values.sum().backward()
        return values.detach(), angles.grad

    return step


def make(peer: str, case: cases.Case, samples: int) -> tuple[Any, Step]:
    """What knows the peer's arrays, and its step."""
    single = case.precision == "single"
    if peer in {"torch", "triton-qml"}:
        tensors = Tensors(single)
        return tensors, (by_gates if peer == "torch" else by_triton_qml)(tensors, case, samples)
    xp: Any = np
    if peer == "cupy":
        import cupy as xp
    arrays = Arrays(xp, single)
    return arrays, by_gates(arrays, case, samples)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Time one step of a case by other means.")
    parser.add_argument("case", type=Path)
    parser.add_argument("--peer", choices=PEERS, required=True)
    parser.add_argument("--samples", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    case = cases.load(options.case)
    backend, step = make(options.peer, case, options.samples)
    start = time.perf_counter()
    values, gradient = step()
    backend.finish()
    first = time.perf_counter() - start
    checked = min(len(case.values), options.samples)
    errors = {"values": float(np.abs(backend.host(values)[:checked] - case.values[:checked, 0]).max())}
    if options.samples == len(case.values):
        wrong = np.abs(backend.host(gradient) - case.gradient).max()
        errors["gradient"] = float(wrong / np.abs(case.gradient).max())
    times: list[float] = []
    end = time.perf_counter() + options.seconds
    while not times or (time.perf_counter() < end and len(times) < 50):
        start = time.perf_counter()
        step()
        backend.finish()
        times.append(time.perf_counter() - start)
    print(json.dumps({"first_s": first, "times_s": times, "errors": errors}))


if __name__ == "__main__":
    main()
