"""Streams, events and memory as CUDA has them: work is queued, done late, and freed memory is reused.

Nothing runs before somebody waits for it. Then work that its stream and its events allow is taken in random order
until what is waited for is done; the rest stays queued. Freed memory is filled with ones, NaN as a number, in the order
of the stream that it was allocated on, as if CuPy's pool had given it to the next one who asked there.
"""

from __future__ import annotations

import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np

MOST_QUEUED = 1024
"""Of a stream; then a launch waits."""


class CUDARuntimeError(RuntimeError):
    """What CuPy raises for an error of the CUDA runtime."""


class Work:
    """Something to be done after other work."""

    def __init__(self, run: Callable[[], None] | None, after: list[Work]) -> None:
        self.run, self.after, self.done = run, [each for each in after if not each.done], False
        self.time = 0.0

    def finish(self) -> None:
        assert all(each.done for each in self.after)
        run, self.run = self.run, None
        self.after = []
        if run is not None:
            run()
        self.time = time.perf_counter()
        self.done = True


class Queue:
    """A stream of a device: work in order."""

    def __init__(self, *, null: bool, blocking: bool) -> None:
        self.null, self.blocking = null, blocking
        self.waiting: deque[Work] = deque()
        self.last: Work | None = None


class Machine:
    """The devices, their streams, and what is current in each thread.

    Args:
        devices: Number of devices.
        seed: Of the order in which work is done.
        free: Bytes that an array may take.
    """

    def __init__(self, devices: int, seed: int = 0, free: int = 8 << 30) -> None:
        self.free = free
        self.devices, self.random, self.lock = devices, random.Random(seed), threading.RLock()
        self.queues: dict[tuple[int, int], Queue] = {}
        self.captures: dict[tuple[int, int], list[Any]] = {}
        self.threads = threading.local()
        self.graveyard: deque[np.ndarray] = deque(maxlen=4096)

    @property
    def device(self) -> int:
        return getattr(self.threads, "device", 0)

    @property
    def stream(self) -> Stream:
        """The current stream of the current device."""
        current = self.__dict__.setdefault("_nulls", {})
        null = current.setdefault(self.device, Stream(self, self.device, 0, null=True))
        return getattr(self.threads, "streams", {}).get(self.device, null)

    @contextmanager
    def on_device(self, number: int) -> Iterator[None]:
        before, self.threads.device = self.device, number
        try:
            yield
        finally:
            self.threads.device = before

    def queue(self, device: int, pointer: int, *, blocking: bool) -> Queue:
        with self.lock:
            made = Queue(null=pointer == 0, blocking=blocking)
            return self.queues.setdefault((device, pointer), made)

    def put(self, queue: Queue, device: int, run: Callable[[], None] | None, after: tuple[Work, ...] = ()) -> Work:
        """Queue work; the legacy default stream and the streams that block wait for one another."""
        with self.lock:
            others = [q for (d, _), q in self.queues.items() if d == device and q.blocking and queue.blocking]
            if not queue.null:
                others = [q for q in others if q.null]
            waited = [q.last for q in (queue, *others) if q.last is not None]
            work = queue.last = Work(run, [*waited, *after])
            queue.waiting.append(work)
            if len(queue.waiting) > MOST_QUEUED:
                self.wait(queue.waiting[0])
            return work

    def wait(self, wanted: Work | None) -> None:
        """Do work in random order until what is wanted is done."""
        with self.lock:
            while wanted is not None and not wanted.done:
                queues = [q for q in self.queues.values() if q.waiting and all(w.done for w in q.waiting[0].after)]
                queue = self.random.choice(queues)
                queue.waiting[0].finish()
                queue.waiting.popleft()

    def finish(self) -> None:
        """Do everything that is queued."""
        for queue in list(self.queues.values()):
            self.wait(queue.last)


class Memory:
    """Memory of a device, from the pool of the stream that is current."""

    def __init__(self, machine: Machine, size: int) -> None:
        self.device, stream = machine.device, machine.stream
        self.root = np.full(size, 0xFF, np.uint8)  # NaN: reading what nobody wrote shows
        weakref.finalize(self, _freed, machine, stream.queue, self.device, self.root).atexit = False


def _freed(machine: Machine, queue: Queue, device: int, root: np.ndarray) -> None:
    machine.graveyard.append(root)  # a pointer to it may still be followed, which then shows
    with machine.lock:
        machine.put(queue, device, lambda: root.fill(0xFF))


class Stream:
    """CuPy's streams."""

    def __init__(
        self, machine: Machine, device: int, pointer: int, *, null: bool = False, blocking: bool = True
    ) -> None:
        self.machine, self.device_id, self.ptr = machine, device, pointer
        self.queue = machine.queue(device, pointer, blocking=null or blocking)
        self.waited = 0

    @property
    def captured(self) -> list[Callable[[], None]] | None:
        """What has been put on the stream, whatever object stands for it, since its capture began."""
        return self.machine.captures.get((self.device_id, self.ptr))

    def __enter__(self) -> Self:
        threads = self.machine.threads
        if not hasattr(threads, "streams"):
            threads.streams, threads.stack = {}, []
        threads.stack.append((self, threads.streams.get(self.device_id)))
        threads.streams[self.device_id] = self
        return self

    def __exit__(self, *_: object) -> None:
        threads = self.machine.threads
        own, before = threads.stack.pop()
        assert own is self
        if before is None:
            del threads.streams[self.device_id]
        else:
            threads.streams[self.device_id] = before

    def synchronize(self) -> None:
        self.refuse_while_captured()
        self.waited += 1
        self.machine.wait(self.queue.last)

    def put(self, run: Callable[[], None] | None, *after: Work) -> Work:
        self.refuse_while_captured()
        assert self.machine.device == self.device_id
        return self.machine.put(self.queue, self.device_id, run, after)

    def do(self, run: Callable[[], None]) -> None:
        """Work on the device alone: put on the stream, or into the graph that it is captured for."""
        if self.captured is None:
            self.put(run)
        else:
            self.captured.append(run)

    def wait_event(self, event: Event) -> None:
        assert event.work is not None
        self.put(None, event.work)

    def refuse_while_captured(self) -> None:
        if self.captured is not None:
            raise CUDARuntimeError(
                "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing"
            )

    def begin_capture(self, mode: int | None = None) -> None:
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        assert self.captured is None
        self.machine.captures[self.device_id, self.ptr] = []

    def end_capture(self) -> Graph:
        assert self.captured is not None
        return Graph(self.machine, self.machine.captures.pop((self.device_id, self.ptr)))


class Graph:
    """Work that is put on a stream together. It does not keep its buffers alive, and works on what is there then."""

    def __init__(self, machine: Machine, work: list[Callable[[], None]]) -> None:
        self.machine, self.work, self.device = machine, work, machine.device
        self.count = 0

    def launch(self, stream: Stream | None = None) -> None:
        stream = stream or self.machine.stream
        assert stream.device_id == self.device
        stream.refuse_while_captured()
        self.count += 1
        for each in self.work:
            stream.put(each)


class Event:
    """CuPy's events."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.work: Work | None = None

    def record(self, stream: Stream | None = None) -> None:
        self.work = (stream or self.machine.stream).put(None)

    def synchronize(self) -> None:
        assert self.work is not None
        self.machine.wait(self.work)


def elapsed_time(start: Event, stop: Event) -> float:
    assert start.work is not None
    assert stop.work is not None
    return 1e3 * (stop.work.time - start.work.time)
