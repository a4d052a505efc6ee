"""Launches as a CUDA graph, made again and again."""

from __future__ import annotations

from typing import Any

Launch = tuple[Any, tuple[int, int], int, tuple[Any, ...], int]
"""A function of CuPy's, blocks, threads, arguments and bytes of shared memory."""

PER_THREAD_STREAM = 2
"""The pointer by which every thread calls its own default stream."""


class TooManyLaunchesError(Exception):
    """More than a recording may have."""


class LaunchGraph:
    """Launches to be made again and again, on the stream that is current then; it keeps their buffers alive.

    They are a CUDA graph. While somebody else captures the stream they are made one by one, as a part of that graph.
    """

    def __init__(self, cupy: Any, launches: list[Launch]) -> None:
        self._cupy, self._launches = cupy, launches
        stream = cupy.cuda.Stream(non_blocking=True)
        with stream:
            stream.begin_capture()
            try:
                self._make()
            finally:
                self._graph = stream.end_capture()

    def launch(self) -> None:
        """Make them."""
        if is_captured(self._cupy):
            self._make()
        else:
            self._graph.launch()

    def _make(self) -> None:
        for function, blocks, threads, pointers, shared_bytes in self._launches:
            function(blocks, (threads,), pointers, shared_mem=shared_bytes)


def is_captured(cupy: Any) -> bool:
    """Whether somebody captures the current stream as a CUDA graph, as ``torch.cuda.graph`` does."""
    pointer = int(cupy.cuda.get_current_stream().ptr)
    return pointer > PER_THREAD_STREAM and bool(cupy.cuda.runtime.streamIsCapturing(pointer))
