"""Sequences of sweeps: a tape run forward or back on part of a batch, the sums of its overlaps, and graphs of all that.

A state that is one tile is one launch. A larger one is a launch for each block of its tape, thousands for a deep
circuit, and as its samples are taken in turn so that they stay in the cache, the host could not launch them as fast
as the device is done with them. Such a sequence is captured once as a graph for each stream and size of the part, and
replayed for every part of every batch: where the states are and which sample is first, the device reads from memory
that is written before (`Launcher.set_part`), and coefficients are written to the same place every time.

A tape of a single sweep is launched without one.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .compiled import CompiledTape
from .launches import (
    Bound,
    Call,
    GPUState,
    Launcher,
    LoadedSweep,
    Partials,
)
from .runtime import Buffer

KEPT_WORKSPACES = 4
"""Of a tape, one for each stream and batch; the least recently used one goes first."""

FLUSH_BYTES = 8 << 20
"""Partial overlaps of the sweeps of large states that are added up together."""

PART_BYTES = 32
"""Of a `Part` in the kernels."""


@dataclass(eq=False)
class Workspace:
    """Where a sequence's numbers are, and the graphs that read them there.

    Attributes:
        bound: The numbers.
        part: What differs from one replay to the next; None where nothing is replayed.
        holds: The coefficients whose numbers are there.
        pieces: Of coefficients on the device: their map, and where the numbers come from (`NumberLayout.pieces`).
        replays: The graphs by direction, number of samples, and whether overlaps are wanted by sample.
        rooms: Their partial overlaps, to keep the memory.
        lock: Held while a call is put on the stream.
    """

    bound: Bound
    part: Buffer | None = None
    holds: object = None
    pieces: tuple[object, Buffer, int] | None = None
    replays: dict[tuple[bool, int, bool], Callable[[], None]] = field(default_factory=dict)
    rooms: list[Buffer] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(eq=False)
class LoadedTape:
    """A compiled tape and its arrays on the device.

    Attributes:
        compiled: The tape.
        steps: Its launches.
        tables: Records of the tables of its diagonals.
        terms: Their terms.
        places: The overlap in each slot of all sweeps, in the order in which they are undone.
        first_places: Where each step's slots begin in ``places``.
        workspaces: By stream and batch.
    """

    compiled: CompiledTape
    steps: tuple[LoadedSweep, ...]
    tables: Buffer
    terms: Buffer
    places: Buffer
    first_places: tuple[int, ...]
    workspaces: OrderedDict[object, Workspace] = field(default_factory=OrderedDict)

    @property
    def has_graph(self) -> bool:
        """Whether the tape's sweeps are replayed as a graph."""
        return len(self.steps) > 1


def load(launcher: Launcher, compiled: CompiledTape) -> LoadedTape:
    """Take a tape to the device, to be read from any stream."""
    upload = launcher.upload
    steps = tuple(
        LoadedSweep(step, *(upload(a) for a in (step.words, step.forward, step.backward))) for step in compiled.steps
    )
    places: list[np.ndarray] = [np.zeros(0, np.int32)]
    first_places = [0] * len(steps)
    count = 0
    for number in reversed(range(len(steps))):
        first_places[number] = count
        places.append(steps[number].sweep.slots)
        count += len(steps[number].sweep.slots)
    tables, terms = (upload(np.array(words, np.int32)) for words in (compiled.numbers.tables, compiled.numbers.terms))
    loaded = LoadedTape(compiled, steps, tables, terms, upload(np.concatenate(places)), tuple(first_places))
    launcher.runtime.synchronize()
    return loaded


class Sequences:
    """Runs tapes on parts of a batch.

    Args:
        launcher: Launches the kernels.
    """

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._runtime = launcher.runtime
        self._lock = threading.Lock()

    def workspace(self, loaded: LoadedTape, batch: int) -> Workspace:
        """Room for the numbers of a call on the current stream, the same every time."""
        layout, launcher = loaded.compiled.numbers, self._launcher
        key = (self._runtime.stream(), batch)
        with self._lock:
            kept = loaded.workspaces.get(key)
            if kept is not None:
                loaded.workspaces.move_to_end(key)
                return kept
        numbers = self._runtime.empty(max(layout.num_shared + layout.num_batched * batch, 1), launcher.real)
        tables = self._runtime.empty(max(layout.num_entries, 1), launcher.complex)
        workspace = Workspace(Bound(numbers, layout.num_shared, tables))
        if loaded.has_graph:
            workspace.part = self._runtime.empty(PART_BYTES // 8, np.int64)
        with self._lock:
            workspace = loaded.workspaces.setdefault(key, workspace)
            while len(loaded.workspaces) > KEPT_WORKSPACES:
                loaded.workspaces.popitem(last=False)
        return workspace

    def forward(self, loaded: LoadedTape, workspace: Workspace, ket: GPUState, samples: tuple[int, int]) -> None:
        """Apply the tape to samples (first, number)."""
        first, count = samples
        if workspace.part is None:
            return self._forward(loaded, Call(workspace.bound, ket.batch, first, count, ket, None))
        key = (False, count, False)
        if key not in workspace.replays:
            call = Call(workspace.bound, ket.batch, 0, count, None, None, workspace.part)
            workspace.replays[key] = self._runtime.capture(lambda: self._forward(loaded, call))
        self._launcher.set_part(workspace.part, ket, None, None, first)
        return workspace.replays[key]()

    def backward(
        self,
        loaded: LoadedTape,
        workspace: Workspace,
        states: tuple[GPUState, GPUState],
        samples: tuple[int, int],
        totals: Buffer,
        *,
        per_sample: bool,
    ) -> None:
        """Undo the tape on samples (first, number); add their overlaps to the totals, or put them there."""
        (ket, bra), (first, count), width = states, samples, loaded.compiled.num_overlaps
        share = totals[first * width :] if per_sample and width else totals
        if workspace.part is None:
            partials = self._room(loaded, count)
            call = Call(workspace.bound, ket.batch, first, count, ket, bra)
            return self._backward(loaded, call, partials, share, per_sample=per_sample)
        key = (True, count, per_sample)
        if key not in workspace.replays:
            room = self._room(loaded, count)
            workspace.rooms.append(room)
            call = Call(workspace.bound, ket.batch, 0, count, None, None, workspace.part)
            workspace.replays[key] = self._runtime.capture(
                lambda: self._backward(loaded, call, room, None, per_sample=per_sample)
            )
        self._launcher.set_part(workspace.part, ket, bra, share, first)
        return workspace.replays[key]()

    def _forward(self, loaded: LoadedTape, call: Call) -> None:
        for step in loaded.steps:
            if len(step.sweep.forward):
                self._launcher.sweep(step, call, None)

    def _backward(
        self, loaded: LoadedTape, call: Call, room: Buffer, totals: Buffer | None, *, per_sample: bool
    ) -> None:
        """Sweeps share the room for partial overlaps until it is full; then these are added up in one launch."""
        used = first_place = slots = rows = tiles = 0

        def flush() -> None:
            if slots:
                places = loaded.places[first_place:]
                partials = Partials(room, slots, rows, tiles if per_sample else rows)
                width, part = loaded.compiled.num_overlaps, call.part
                self._launcher.add(partials, places, width, totals, real=True, onto=not per_sample, part=part)

        for number in reversed(range(len(loaded.steps))):
            step = loaded.steps[number]
            if not step.sweep.undone:
                continue
            own = len(step.sweep.slots)
            if step.sweep.tiles != tiles or used + own * rows > len(room):
                flush()
                used, slots, first_place = 0, 0, loaded.first_places[number]
                tiles, rows = step.sweep.tiles, call.count * step.sweep.tiles
            self._launcher.sweep(step, call, room[used:] if own else room)
            used, slots = used + own * rows, slots + own
        flush()

    def _room(self, loaded: LoadedTape, count: int) -> Buffer:
        """Partial overlaps: at least those of any one sweep, at most all of them."""
        sweeps = [step.sweep for step in loaded.steps]
        needs = [len(sweep.slots) * sweep.tiles * count for sweep in sweeps] or [0]
        wanted = min(sum(needs), FLUSH_BYTES // np.dtype(self._launcher.real).itemsize)
        return self._runtime.empty(max(*needs, wanted, 1), self._launcher.real)
