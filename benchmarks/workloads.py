"""What is measured: the families of workloads, the named sizes, and `get`, which understands both.

`get` takes a name out of `NAMED` (W1 to W6 among them) or any size of a family, such as ``hea:n=8,L=5,B=128``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from math import pi

import numpy as np
from molecule import molecule_hamiltonian
from spec import Angle, Factor, Gate, Term, Workload


class _Builder:
    """Writes gates and numbers weights."""

    def __init__(self, num_qubits: int) -> None:
        self.n = num_qubits
        self.gates: list[Gate] = []
        self.weights = 0

    def add(self, name: str, *qubits: int, angles: tuple[Angle, ...] = ()) -> None:
        self.gates.append(Gate(name, qubits, angles))

    def trained(self, name: str, *qubits: int, count: int = 1) -> None:
        """A gate with ``count`` weights of its own."""
        self.add(name, *qubits, angles=tuple(weight(self.weights + k) for k in range(count)))
        self.weights += count

    def ring(self, name: str) -> None:
        for q in range(self.n):
            self.add(name, q, (q + 1) % self.n)

    def encode(self, name: str = "ry") -> None:
        for q in range(self.n):
            self.add(name, q, angles=(feature(q),))


def weight(index: int, scale: float = 1.0) -> Angle:
    """The angle ``scale * w[index]``."""
    return Angle(scale, (Factor("weight", index),))


def feature(index: int, scale: float = 1.0) -> Angle:
    """The angle ``scale * x[index]``."""
    return Angle(scale, (Factor("input", index),))


def mean_z(n: int) -> tuple[tuple[Term, ...], ...]:
    """One observable, the mean of all Z."""
    return (tuple(Term(1 / n, (("Z", q),)) for q in range(n)),)


def random_hamiltonian(n: int, terms: int, locality: int = 4) -> tuple[Term, ...]:
    """Different Pauli strings on 1 to ``locality`` qubits, the coefficients' absolute values adding up to 1."""
    rng = np.random.default_rng([3, n, terms])
    strings: set[tuple[tuple[str, int], ...]] = set()
    while len(strings) < terms:
        qubits = sorted(int(q) for q in rng.choice(n, int(rng.integers(1, locality + 1)), replace=False))
        strings.add(tuple((str(rng.choice(list("XYZ"))), q) for q in qubits))
    coefficients = rng.uniform(-1, 1, terms)
    coefficients /= np.abs(coefficients).sum()
    return tuple(Term(float(c), paulis) for c, paulis in zip(coefficients, sorted(strings), strict=True))


def _layered(n: int, layers: int, batch: int, prefix: _Builder, layer: _Builder, inputs: int | None = None) -> Workload:
    """The layer's builder numbers its weights from the prefix's on."""
    per_layer = layer.weights - prefix.weights
    total = prefix.weights + layers * per_layer
    num_inputs = n if inputs is None else inputs
    return Workload(
        "", n, num_inputs, total, batch, tuple(prefix.gates), tuple(layer.gates), layers, per_layer, mean_z(n)
    )


def _start(n: int, *, encode: bool = True) -> tuple[_Builder, _Builder]:
    prefix, layer = _Builder(n), _Builder(n)
    if encode:
        prefix.encode()
    return prefix, layer


def hea(n: int, layers: int, batch: int) -> Workload:
    """Hardware-efficient ansatz: RY encoding, layers of RX RY RZ on every qubit and a ring of CX.

    The useful count is 10 n + 14 multiply-adds per amplitude and layer, forward and backward together: Euler angles,
    the diagonals of a layer merged, rotations with the cosine factored out.
    """
    prefix, layer = _start(n)
    for q in range(n):
        for name in ("rx", "ry", "rz"):
            layer.trained(name, q)
    layer.ring("cx")
    return replace(_layered(n, layers, batch, prefix, layer), useful_fma=(10 * n + 14) * 2**n * layers * batch)


def zz_real(n: int, layers: int, batch: int) -> Workload:
    """ZZFeatureMap (2 repetitions, full) and RealAmplitudes (reverse-linear): products of features, real gates."""
    prefix, layer = _start(n, encode=False)
    for _ in range(2):
        for q in range(n):
            prefix.add("h", q)
            prefix.add("p", q, angles=(feature(q, 2.0),))
        for i in range(n):
            for j in range(i + 1, n):
                factors = (Factor("input", i, -1.0, pi), Factor("input", j, -1.0, pi))
                prefix.add("cx", i, j)
                prefix.add("p", j, angles=(Angle(2.0, factors),))
                prefix.add("cx", i, j)
    for q in range(n):
        prefix.trained("ry", q)
    layer.weights = prefix.weights
    for q in reversed(range(n - 1)):
        layer.add("cx", q, q + 1)
    for q in range(n):
        layer.trained("ry", q)
    return _layered(n, layers, batch, prefix, layer)


def real(n: int, layers: int, batch: int) -> Workload:
    """RY encoding and RealAmplitudes (circular): every gate is a real matrix."""
    prefix, layer = _start(n)
    for q in range(n):
        prefix.trained("ry", q)
    layer.weights = prefix.weights
    for q in range(n):
        layer.add("cx", (q - 1) % n, q)
    for q in range(n):
        layer.trained("ry", q)
    return _layered(n, layers, batch, prefix, layer)


def _su2(n: int, layers: int, batch: int, pairs: Callable[[int], list[tuple[int, int]]], *, periodic: bool) -> Workload:
    """EfficientSU2: RY RZ on every qubit, then layers times the entangler and RY RZ."""
    prefix, layer = _start(n)

    def rotations(builder: _Builder) -> None:
        for name in ("ry", "rz"):
            for q in range(n):
                builder.trained(name, q)

    rotations(prefix)
    target = layer if periodic else prefix
    target.weights = prefix.weights
    for number in range(1 if periodic else layers):
        for control, other in pairs(number):
            target.add("cx", control, other)
        rotations(target)
    if not periodic:
        layer.weights = prefix.weights
    return _layered(n, layers if periodic else 0, batch, prefix, layer)


def su2_linear(n: int, layers: int, batch: int) -> Workload:
    """EfficientSU2 with linear entanglement."""
    return _su2(n, layers, batch, lambda _: [(q, q + 1) for q in range(n - 1)], periodic=True)


def su2_full(n: int, layers: int, batch: int) -> Workload:
    """EfficientSU2 with full entanglement."""
    return _su2(n, layers, batch, lambda _: [(i, j) for i in range(n) for j in range(i + 1, n)], periodic=True)


def su2_sca(n: int, layers: int, batch: int) -> Workload:
    """EfficientSU2 with shifted-circular-alternating entanglement: no two neighbouring layers are alike."""

    def pairs(number: int) -> list[tuple[int, int]]:
        circular = [(n - 1, 0)] + [(q, q + 1) for q in range(n - 1)]
        cut = number % n
        shifted = circular[n - cut :] + circular[: n - cut]
        return [(b, a) for a, b in shifted] if number % 2 else shifted

    return _su2(n, layers, batch, pairs, periodic=False)


def reupload(n: int, layers: int, batch: int) -> Workload:
    """Data re-uploading: every layer encodes the inputs again; their gradients are wanted too."""
    prefix, layer = _start(n, encode=False)
    layer.encode("rx")
    for q in range(n):
        layer.trained("ry", q)
        layer.trained("rz", q)
    layer.ring("cz")
    return replace(_layered(n, layers, batch, prefix, layer), wanted="weights+inputs")


def qaoa(n: int, layers: int, batch: int) -> Workload:
    """QAOA for a weighted graph (ring and chords): two weights a layer, each used by many gates; no inputs."""
    if batch != 1:
        raise ValueError(f"qaoa has no inputs that could differ between {batch} samples; B=1 is expected.")
    prefix, layer = _start(n, encode=False)
    rng = np.random.default_rng([4, n])
    edges = [(q, (q + 1) % n) for q in range(n)] + [(q, q + n // 2) for q in range(n // 2)]
    couplings = rng.uniform(-1, 1, len(edges))
    for q in range(n):
        prefix.add("h", q)
    for (i, j), coupling in zip(edges, couplings, strict=True):
        layer.add("rzz", i, j, angles=(weight(0, 2 * float(coupling)),))
    for q in range(n):
        layer.add("rx", q, angles=(weight(1, 2.0),))
    layer.weights = 2
    total = float(np.abs(couplings).sum())
    cost = tuple(Term(float(c) / total, (("Z", i), ("Z", j))) for (i, j), c in zip(edges, couplings, strict=True))
    return replace(_layered(n, layers, batch, prefix, layer, inputs=0), observables=(cost,))


def ising(n: int, layers: int, batch: int) -> Workload:
    """Ising layers: RZZ on a ring and RX on every qubit, each with a weight of its own."""
    prefix, layer = _start(n)
    for q in range(n):
        layer.trained("rzz", q, (q + 1) % n)
    for q in range(n):
        layer.trained("rx", q)
    return _layered(n, layers, batch, prefix, layer)


def _bricks(n: int) -> list[tuple[int, int]]:
    return [(q, q + 1) for start in (0, 1) for q in range(start, n - 1, 2)]


def su4(n: int, layers: int, batch: int) -> Workload:
    """Brickwork of general two-qubit unitaries, 15 weights each: U U, RXX RYY RZZ, U U."""
    prefix, layer = _start(n)
    for i, j in _bricks(n):
        for q in (i, j):
            layer.trained("u", q, count=3)
        for name in ("rxx", "ryy", "rzz"):
            layer.trained(name, i, j)
        for q in (i, j):
            layer.trained("u", q, count=3)
    return _layered(n, layers, batch, prefix, layer)


def ucx(n: int, layers: int, batch: int) -> Workload:
    """Brickwork of U on both qubits and CX."""
    prefix, layer = _start(n)
    for i, j in _bricks(n):
        for q in (i, j):
            layer.trained("u", q, count=3)
        layer.add("cx", i, j)
    return _layered(n, layers, batch, prefix, layer)


def brick(n: int, layers: int, batch: int) -> Workload:
    """RX RY RZ on every qubit and a brickwork of CX: the light cone of a qubit grows by four a layer."""
    prefix, layer = _start(n)
    for q in range(n):
        for name in ("rx", "ry", "rz"):
            layer.trained(name, q)
    for control, target in _bricks(n):
        layer.add("cx", control, target)
    return _layered(n, layers, batch, prefix, layer)


def pauli(n: int, layers: int, batch: int) -> Workload:
    """RXX, RYY and controlled RX, RY, RZ along a line."""
    prefix, layer = _start(n)
    names = ("rxx", "ryy", "crx", "cry", "crz")
    for offset in range(len(names)):
        for q in range(n - 1):
            layer.trained(names[(q + offset) % len(names)], q, q + 1)
    return _layered(n, layers, batch, prefix, layer)


def hamiltonian(n: int, layers: int, batch: int) -> Workload:
    """The layers of `hea`, and 120 Pauli strings on up to 4 qubits as one observable."""
    return replace(hea(n, layers, batch), observables=(random_hamiltonian(n, 120),))


def molecule(n: int, layers: int, batch: int) -> Workload:
    """The layers of `hea`, and a molecule's Hamiltonian as one observable: on 12 qubits 1,818 strings."""
    return replace(hea(n, layers, batch), observables=(molecule_hamiltonian(n),))


def jacobian(n: int, layers: int, batch: int) -> Workload:
    """The layers of `hea`, ten observables and their full Jacobian."""
    terms = random_hamiltonian(n, 20)
    observables = tuple((terms[2 * k], terms[2 * k + 1]) for k in range(10))
    return replace(hea(n, layers, batch), observables=observables, wanted="jacobian", useful_fma=None)


def forward(n: int, layers: int, batch: int) -> Workload:
    """`hea`, values only."""
    return replace(hea(n, layers, batch), wanted="values", useful_fma=None)


_ANSATZ = (hea, zz_real, real, su2_linear, su2_full, su2_sca, reupload, qaoa, ising, su4, ucx, brick, pauli)
FAMILIES: dict[str, Callable[[int, int, int], Workload]] = {
    family.__name__: family for family in (*_ANSATZ, hamiltonian, molecule, jacobian, forward)
}

PAPER = ("W1", "W2", "W3", "W4", "W5", "W6")
"""The six sizes of `hea` that the targets are stated for."""

NAMED: dict[str, str] = {
    "W1": "hea:n=4,L=3,B=256",
    "W2": "hea:n=8,L=5,B=128",
    "W3": "hea:n=12,L=10,B=32",
    "W4": "hea:n=16,L=10,B=4",
    "W5": "hea:n=20,L=5,B=1",
    "W6": "hea:n=10,L=100,B=16",
    "zz_real": "zz_real:n=8,L=3,B=64",
    "real": "real:n=12,L=10,B=32",
    "su2_linear": "su2_linear:n=10,L=5,B=32",
    "su2_full": "su2_full:n=10,L=5,B=32",
    "su2_sca": "su2_sca:n=10,L=5,B=32",
    "reupload": "reupload:n=6,L=10,B=64",
    "qaoa": "qaoa:n=14,L=8,B=1",
    "ising": "ising:n=10,L=10,B=32",
    "su4": "su4:n=8,L=4,B=32",
    "ucx": "ucx:n=10,L=8,B=32",
    "pauli": "pauli:n=8,L=5,B=32",
    "hamiltonian": "hamiltonian:n=12,L=6,B=8",
    "molecule": "molecule:n=12,L=6,B=1",
    "jacobian": "jacobian:n=8,L=5,B=32",
    "forward": "forward:n=12,L=10,B=32",
}
"""The fixed cases."""

SCALING: dict[str, tuple[str, ...]] = {
    "n": tuple(f"hea:n={n},L=5,B={max(1, min(128, 2 ** (18 - n)))}" for n in range(4, 23, 2)),
    "L": tuple(f"hea:n=8,L={L},B=64" for L in (1, 3, 10, 30, 100, 300)),
    "B": tuple(f"hea:n=8,L=5,B={B}" for B in (1, 2, 4, 8, 16, 64, 256, 1024)),
}
"""How a step grows with the width, the depth and the batch."""

GROUPS: dict[str, tuple[str, ...]] = {
    "paper": PAPER,
    "shapes": tuple(name for name in NAMED if name not in PAPER),
    "all": tuple(NAMED),
    **{f"scaling-{axis}": specs for axis, specs in SCALING.items()},
}
"""Names that stand for several workloads."""


def sizes(name: str) -> tuple[int, int, int]:
    """Qubits, layers and samples of a workload."""
    workload = get(name)
    return workload.num_qubits, workload.num_layers, workload.batch


@lru_cache(maxsize=64)
def get(name: str) -> Workload:
    """A workload by its name in `NAMED` or as ``family:n=..,L=..,B=..``.

    Raises:
        ValueError: For a name that is neither, or a size the family does not have.
    """
    match = re.fullmatch(r"(\w+):n=(\d+),L=(\d+),B=(\d+)", NAMED.get(name, name))
    if match is None or match[1] not in FAMILIES:
        raise ValueError(
            f"There is no workload {name!r}. Known are {', '.join(NAMED)}, the groups {', '.join(GROUPS)} and any "
            f"family:n=..,L=..,B=.. with a family out of {', '.join(FAMILIES)}."
        )
    n, layers, batch = (int(match[k]) for k in (2, 3, 4))
    return replace(FAMILIES[match[1]](n, layers, batch), name=name)


def expand(names: str) -> tuple[str, ...]:
    """The workloads named by a list separated by commas and semicolons; a group stands for its members."""
    result: list[str] = []
    for part in re.split(r";|,(?![LB]=\d)", names):
        name = part.strip()
        for member in GROUPS.get(name, (name,)):
            get(member)
            if member not in result:
                result.append(member)
    return tuple(result)
