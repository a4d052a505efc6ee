"""Hamiltonians like those of molecules: random one- and two-electron integrals on qubits, by Jordan and Wigner.

``H = sum_pq h_pq E_pq + 1/2 sum_pqrs (pq|rs) E_pq E_rs`` with ``E_pq = sum_spin a+_p a_q`` and the symmetries of real
orbitals; spin orbital p of spin s is qubit p + s n/2. A molecule has other numbers, but as many strings and flips.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

import numpy as np
from spec import Term

Strings = dict[tuple[int, int], float]
"""Coefficients of ``X^x Z^z``, masks (x, z)."""


def product(a: Strings, b: Strings) -> Strings:
    """``X^x Z^z X^y Z^w = (-1)^|z & y| X^(x ^ y) Z^(z ^ w)``."""
    result: Counter[tuple[int, int]] = Counter()
    for (x, z), first in a.items():
        for (y, w), second in b.items():
            result[x ^ y, z ^ w] += -first * second if (z & y).bit_count() & 1 else first * second
    return result


def excitation(p: int, q: int, n: int) -> Strings:
    """``E_pq``."""
    result: Counter[tuple[int, int]] = Counter()
    for spin in (0, n // 2):
        creates, annihilates = p + spin, q + spin
        # a = Z..Z (X + X Z) / 2 lowers |1> to |0>; a+ is its transpose
        lower = {(1 << annihilates, (1 << annihilates) - 1): 0.5, (1 << annihilates, (2 << annihilates) - 1): -0.5}
        raise_ = {(1 << creates, (1 << creates) - 1): 0.5, (1 << creates, (2 << creates) - 1): 0.5}
        for masks, value in product(raise_, lower).items():
            result[masks] += value
    return result


@lru_cache(maxsize=8)
def molecule_hamiltonian(n: int) -> tuple[Term, ...]:
    """The strings on n qubits, an even number, the coefficients' absolute values adding up to 1."""
    orbitals = n // 2
    rng = np.random.default_rng([4, n])
    one = rng.normal(size=(orbitals, orbitals))
    factors = rng.normal(size=(4, orbitals, orbitals)) / 4
    factors += factors.transpose(0, 2, 1)
    two = np.einsum("kpq,krs->pqrs", factors, factors)
    excitations = {(p, q): excitation(p, q, n) for p in range(orbitals) for q in range(orbitals)}
    total: Counter[tuple[int, int]] = Counter()
    for (p, q), first in excitations.items():
        pairs: Counter[tuple[int, int]] = Counter({(0, 0): one[p, q] + one[q, p]})
        for (r, s), second in excitations.items():
            for masks, value in second.items():
                pairs[masks] += 0.5 * two[p, q, r, s] * value
        for masks, value in product(first, pairs).items():
            total[masks] += value
    total[0, 0] = 0.0
    # X Z = -1j Y, in pairs
    found = {
        (x, z): value * (-1) ** ((x & z).bit_count() // 2) for (x, z), value in total.items() if abs(value) > 1e-12
    }
    norm = sum(abs(value) for value in found.values())
    return tuple(Term(float(value / norm), _letters(x, z)) for (x, z), value in sorted(found.items()))


def _letters(x: int, z: int) -> tuple[tuple[str, int], ...]:
    return tuple(("IXZY"[(x >> q & 1) + 2 * (z >> q & 1)], q) for q in range((x | z).bit_length()) if (x | z) >> q & 1)
