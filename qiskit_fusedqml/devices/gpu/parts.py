"""Parts of states on a GPU, for several ranks (`RankDevice`): pieces go through the host's memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from .. import RankDevice
from ..pieces import Piece
from .launches import GPUState
from .runtime import Runtime, on_own_device


class GPUParts(RankDevice):
    """What a rank's part is to others."""

    runtime: Runtime

    @override
    @on_own_device
    def pack(self, state: GPUState, piece: Piece, buffer: NDArray[np.floating]) -> None:
        chosen = self._rows(state)[:, self.runtime.upload(piece.addresses())]
        found = self.runtime.download(chosen.reshape(-1))
        buffer.view(found.dtype)[: found.size] = found

    @override
    @on_own_device
    def unpack(self, state: GPUState, piece: Piece, buffer: NDArray[np.floating]) -> None:
        numbers = buffer.view(np.complex64 if buffer.itemsize == 4 else np.complex128)[: state.batch * piece.size]
        uploaded: Any = self.runtime.upload(numbers)
        self._rows(state)[:, self.runtime.upload(piece.addresses())] = uploaded.reshape(state.batch, piece.size)

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
