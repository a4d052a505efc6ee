"""Carriers: which operation multiplies by what factored rotations of its block have left out (`planner.tape`)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .tables import CARRIER, FACTORED, PLAIN, ScaleTable
from .tape import RY, Block, Diag, Operation, Pauli

LONGEST_STRETCH = 64
"""Rotations whose cosines are taken out before they are put back: amplitudes grow by 2**32 at most until then, and
their products by 2**64, which single precision holds."""


class Scaling:
    """Gives factored rotations their carriers, block by block."""

    def __init__(self) -> None:
        self.num_scales = 0
        # the pairs factored, the pair of their carrier or -1, the scale of their carrier or -1
        self._stretches: list[tuple[list[int], int, int]] = []

    def carry(self, operations: Sequence[Operation]) -> list[Operation]:
        """The operations with the K of diagonals numbered.

        A rotation is carried by the next diagonal of the block, else by the previous one. Of more than
        `LONGEST_STRETCH` in a row, and where there is no diagonal, the last one carries the others.
        """
        result = list(operations)
        diagonals = [k for k, operation in enumerate(operations) if isinstance(operation, Diag)]
        # rotations before each diagonal, and at the end
        gaps: list[list[int]] = [[] for _ in range(len(diagonals) + 1)]
        for k, operation in enumerate(operations):
            pair = _factorable_pair(operation)
            if pair >= 0:
                gaps[bisect_left(diagonals, k)].append(pair)
        last = gaps.pop()
        if not diagonals or len(last) > LONGEST_STRETCH:
            last = self._carry_themselves(last, 0)
        carried = [self._carry_themselves(pairs, LONGEST_STRETCH) for pairs in gaps]
        if carried:
            carried[-1] += last
        for carrier, pairs in zip(diagonals, carried, strict=True):
            if pairs:
                result[carrier] = replace(operations[carrier], scale=self.num_scales)  # type: ignore[arg-type]
                self._stretches.append((pairs, -1, self.num_scales))
                self.num_scales += 1
        return result

    def _carry_themselves(self, pairs: list[int], rest: int) -> list[int]:
        """Give rotations in a row carriers of their own until at most ``rest`` are left, which are returned."""
        while len(pairs) > rest:
            stretch, pairs = pairs[:LONGEST_STRETCH], pairs[LONGEST_STRETCH:]
            if len(stretch) > 1:
                self._stretches.append((stretch[:-1], stretch[-1], -1))
        return pairs

    def kinds(self, num_pairs: int) -> NDArray[np.int64]:
        """The kinds of the shared pairs: PLAIN, FACTORED, CARRIER."""
        kinds = np.full(num_pairs, PLAIN, np.int64)
        for pairs, carrier, _ in self._stretches:
            kinds[pairs] = FACTORED
            if carrier >= 0:
                kinds[carrier] = CARRIER
        return kinds

    def table(self, blocks: Sequence[Block], kinds: NDArray[np.int64], num_overlaps: int) -> ScaleTable:
        """The numbered scaling operations of all blocks."""
        order: list[int] = []
        positions = np.zeros(num_overlaps, np.int64)
        for block in blocks:
            for operation in block.operations:
                pair = _factorable_pair(operation)
                if pair >= 0 and kinds[pair] != PLAIN:
                    order.append(pair)
                elif isinstance(operation, Diag) and operation.scale >= 0:
                    order.append(len(kinds) + operation.scale)
                if operation.overlap >= 0:
                    positions[operation.overlap : operation.overlap + operation.num_overlaps] = len(order)
        lengths = [len(pairs) for pairs, _, _ in self._stretches]
        return ScaleTable(
            factored=np.array([pair for pairs, _, _ in self._stretches for pair in pairs], np.int64),
            starts=np.array([0, *np.cumsum(lengths)[:-1]] if lengths else [], np.int64),
            carrier_pair=np.array([carrier for _, carrier, _ in self._stretches], np.int64),
            carrier_diag=np.array([scale for _, _, scale in self._stretches], np.int64),
            order=np.array(order, np.int64),
            overlap_position=positions,
        )


def _factorable_pair(operation: Operation) -> int:
    """The pair of a rotation whose cosine can be factored out; -1 for other operations."""
    if isinstance(operation, RY) or (isinstance(operation, Pauli) and not operation.controls):
        return -1 if operation.batched else operation.coefficient
    return -1
