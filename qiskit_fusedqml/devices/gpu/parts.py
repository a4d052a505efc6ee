"""Parts of states on a GPU, for several ranks (`RankDevice`): pieces go through the host's memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ...planner.frame import Frame
from ...planner.gf2 import combination
from .. import RankDevice
from .launches import GPUState
from .runtime import Runtime, on_own_device


class GPUParts(RankDevice):
    """What a rank's part is to others."""

    runtime: Runtime

    @override
    @on_own_device
    def pack(
        self,
        state: GPUState,
        vectors: NDArray[np.uint64],
        offset: int,
        first: int,
        count: int,
        buffer: NDArray[np.floating],
    ) -> None:
        chosen = self._rows(state)[:, self._addresses(vectors, offset, first, count)]
        found = self.runtime.download(chosen.reshape(-1))
        buffer.view(found.dtype)[: found.size] = found

    @override
    @on_own_device
    def unpack(
        self,
        state: GPUState,
        vectors: NDArray[np.uint64],
        offset: int,
        first: int,
        count: int,
        buffer: NDArray[np.floating],
    ) -> None:
        numbers = buffer.view(np.complex64 if buffer.itemsize == 4 else np.complex128)[: state.batch * count]
        piece: Any = self.runtime.upload(numbers)
        self._rows(state)[:, self._addresses(vectors, offset, first, count)] = piece.reshape(state.batch, count)

    @override
    @on_own_device
    def clear(self, state: GPUState) -> None:
        self._rows(state)[...] = 0

    @override
    @on_own_device
    def add(self, state: GPUState, other: GPUState) -> None:
        rows = self._rows(state)
        rows += self._rows(other)

    @staticmethod
    def _rows(state: GPUState) -> Any:
        amplitudes: Any = state.amplitudes
        return amplitudes.reshape(state.batch, -1)

    def _addresses(self, vectors: NDArray[np.uint64], offset: int, first: int, count: int) -> Any:
        """Of a piece whose length is a power of two that divides its first number."""
        columns = [int(vector) for vector in vectors]
        start = offset ^ combination(columns, first)
        return self.runtime.upload(Frame(tuple(columns[: count.bit_length() - 1]), (), start).indices())
