"""Tapes on the device: sequences of sweeps run forward or back on part of a batch, and graphs of them.

A state that is one tile is one launch. A larger one is a launch for each block of its tape, thousands for a deep
circuit, and as its samples are taken in turn so that they stay in the cache, the host could not launch them as fast
as the device is done with them. Such a sequence is captured once as a graph for each stream and size of the part, and
replayed for every part of every batch: where the states are and which sample is first, the device reads from memory
that is written before (`set_part` in the kernels), and coefficients are written to the same place every time.

A tape of a single sweep is launched without one, and so is one whose launches are a part of a larger recording
(`Runtime.record`), such as those of a whole step.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ...memory import BoundedCache
from ...planner.tape import Tape
from .. import Coefficients
from .coefficients import CoefficientsOnDevice
from .compiled import Geometry, Sweep, compile_tape
from .constants import PART_BYTES, SWEEP, THREADS, WARP_THREADS
from .launches import GPUState, Launcher, Partials
from .layout import TABLE_WORDS, Sizes, turns
from .runtime import Buffer
from .sources import sweep_name

KEPT_WORKSPACES = 4
"""Of a tape, one for each stream and batch."""

PARTIAL_BYTES = 256 << 20
"""Memory for partial overlaps; the batch is cut so that they fit."""

CACHE_SHARE = 0.6
"""Share of the second-level cache that the ket and the bra of the samples in turn may take."""

WAVES = 4
"""Blocks of a sweep that each place of a multiprocessor has in turn, at least: sweeps are bound by arithmetic."""

FLUSH_BYTES = 8 << 20
"""Partial overlaps of the sweeps of large states that are added up together."""

MOST_TABLES = 2**15
"""Tables that are filled in one launch."""

AnyCoefficients = Coefficients | CoefficientsOnDevice


@dataclass(eq=False)
class Workspace:
    """Where the numbers of a call are, and the graphs that read them there.

    Attributes:
        batch: Samples of the whole batch.
        numbers: The coefficients as sweeps read them.
        tables: The tables of shared diagonals.
        part: What differs from one replay to the next; None where nothing is replayed.
        holds: The coefficients whose numbers are there.
        pieces: Of coefficients on the device: their map, and where the numbers come from (`NumberLayout.pieces`).
        replays: The graphs by direction, number of samples, and whether overlaps are wanted by sample.
        lock: Held while a call is put on the stream.
    """

    batch: int
    numbers: Buffer
    tables: Buffer
    part: Buffer | None
    holds: object = None
    pieces: tuple[object, Buffer, int] | None = None
    replays: dict[tuple[bool, int, bool], Callable[[], None]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, eq=False)
class LoadedSweep:
    """A sweep and its arrays on the device.

    Attributes:
        sweep: The sweep.
        words: Its records.
        forward: Those of the forward sweep.
        backward: Those of the backward sweep.
        places: The overlap in each slot of this sweep, followed by those of the sweeps that are undone after it.
    """

    sweep: Sweep
    words: Buffer
    forward: Buffer
    backward: Buffer
    places: Buffer


class LoadedTape:
    """A tape on the device, to be run from any stream.

    Args:
        launcher: Launches the kernels.
        tape: The tape.
        geometry: Sizes of its tiles.

    Attributes:
        workspaces: By stream and batch.
    """

    def __init__(self, launcher: Launcher, tape: Tape, geometry: Geometry) -> None:
        self._launcher, self._runtime = launcher, launcher.runtime
        sweeps, self._numbers = compile_tape(tape, geometry)
        self._width = tape.num_overlaps
        self.workspaces: BoundedCache[object, Workspace] = BoundedCache(KEPT_WORKSPACES)
        upload = launcher.upload
        places = upload(np.concatenate([sweep.slots for sweep in reversed(sweeps)] or [np.zeros(0, np.int32)]))
        firsts = np.cumsum([0, *(len(sweep.slots) for sweep in reversed(sweeps))]).tolist()[-2::-1]
        self._sweeps = [
            LoadedSweep(sweep, upload(sweep.words), upload(sweep.forward), upload(sweep.backward), places[first:])
            for sweep, first in zip(sweeps, firsts, strict=True)
        ]
        self._tables, self._terms = (
            upload(np.array(words, np.int32)) for words in (self._numbers.tables, self._numbers.terms)
        )
        self._runtime.synchronize()

    def run(
        self,
        coefficients: AnyCoefficients,
        states: Sequence[GPUState],
        totals: Buffer | None = None,
        *,
        per_sample: bool = False,
    ) -> None:
        """Apply the tape to a ket, or undo it on ket and bra and put their overlaps into the totals, which are zero.

        Raises:
            InvalidInputError: If the coefficients do not fit the tape or the states.
        """
        batch = states[0].batch
        sizes = coefficients.sizes if isinstance(coefficients, CoefficientsOnDevice) else Sizes.of(coefficients)
        self._numbers.check(sizes, batch)
        workspace, is_recorded = self._workspace_of(batch), self._runtime.recorded is not None
        ket, bra = states[0].amplitudes, states[1].amplitudes if len(states) > 1 else None
        with workspace.lock:  # until all is on the stream
            self._bind(coefficients, workspace)
            for first, count in self._shares(states):
                part = totals[first * self._width :] if totals is not None and per_sample and self._width else totals
                if workspace.part is None:
                    self._launch(
                        workspace, (ket, bra), (first, count), self._room(count, bra), part, per_sample=per_sample
                    )
                    continue
                self._launcher.launch("set_part", (1, 1), [workspace.part, ket, bra, part, first], threads=1)
                sweeps = partial(self._launch, workspace, (None, None), (0, count), per_sample=per_sample)
                if is_recorded:  # a graph of its own cannot be a part of another
                    sweeps(self._room(count, bra), None)
                    continue
                key = (bra is not None, count, per_sample)
                if key not in workspace.replays:
                    workspace.replays[key] = self._runtime.capture(partial(sweeps, self._room(count, bra), None))
                workspace.replays[key]()

    def _launch(
        self,
        workspace: Workspace,
        states: tuple[Buffer | None, Buffer | None],
        samples: tuple[int, int],
        room: Buffer | None,
        totals: Buffer | None,
        *,
        per_sample: bool,
    ) -> None:
        """The sweeps forward, or with room for partial overlaps backward. A part says where states and totals are."""
        sweep = partial(self._sweep, workspace, states, samples)
        if room is None:
            for loaded in self._sweeps:
                if len(loaded.sweep.forward):
                    sweep(loaded, None)
            return
        for group in self._groups(samples[1], len(room)):
            tiles, used = group[0].sweep.shape.tiles, 0
            parts = samples[1] * tiles
            for loaded in group:
                sweep(loaded, room[used:] if len(loaded.sweep.slots) else room)
                used += len(loaded.sweep.slots) * parts
            if used:
                partials = Partials(room, used // parts, parts, tiles if per_sample else parts)
                onto, part, places = not per_sample, workspace.part, group[0].places
                self._launcher.add(partials, places, self._width, totals, real=True, onto=onto, part=part)

    def _shares(self, states: Sequence[GPUState]) -> Iterator[tuple[int, int]]:
        """Samples in turn, (first, number): large states stay in the cache, partial sums in bounds.

        Where the cache has room for few, multiprocessors would have nothing to do: they get their blocks first.
        """
        batch, room = states[0].batch, states[0].batch
        if len(self._sweeps) > 1:
            limits, geometry = self._runtime.limits, self._launcher.geometry
            each = geometry.amplitude_bytes * len(states) << states[0].num_qubits
            room = int(CACHE_SHARE * limits.cache_bytes / each)
            resident = limits.multiprocessors * (2 if geometry.largest_threads <= THREADS else 1)
            fewest = min(loaded.sweep.shape.tiles for loaded in self._sweeps)
            room = max(room, -(-WAVES * resident // fewest))
        slots = max((len(loaded.sweep.slots) * loaded.sweep.shape.tiles for loaded in self._sweeps), default=0)
        if len(states) > 1 and slots:
            room = min(room, PARTIAL_BYTES // (slots * np.dtype(self._launcher.real).itemsize))
        room = min(max(room, 1), batch)
        return ((first, min(room, batch - first)) for first in range(0, batch, room))

    def _groups(self, count: int, room: int) -> Iterator[list[LoadedSweep]]:
        """Sweeps in backward order; the partial overlaps of a group, all of equal tiles, fit in the room."""
        group: list[LoadedSweep] = []
        used = 0
        for loaded in reversed(self._sweeps):
            if len(loaded.sweep.backward):
                needed = len(loaded.sweep.slots) * loaded.sweep.shape.tiles * count
                if group and (loaded.sweep.shape.tiles != group[0].sweep.shape.tiles or used + needed > room):
                    yield group
                    group, used = [], 0
                group.append(loaded)
                used += needed
        if group:
            yield group

    def _sweep(
        self,
        workspace: Workspace,
        states: tuple[Buffer | None, Buffer | None],
        samples: tuple[int, int],
        loaded: LoadedSweep,
        partials: Buffer | None,
    ) -> None:
        """Launch a sweep: forward, or with room for partial overlaps backward."""
        sweep, undo, geometry = loaded.sweep, partials is not None, self._launcher.geometry
        shape, (first, count) = sweep.shape, samples
        order, records = (loaded.backward, sweep.backward) if undo else (loaded.forward, sweep.forward)
        blocks, threads, shared_bytes, second = launch_size(geometry, sweep, count, undo=undo)
        members = {
            "words": loaded.words,
            "order": order,
            "steps": len(records),
            "load_rows": loaded.words[sweep.last_vectors if undo else 0 :],
            "store_rows": loaded.words[sweep.stop_vectors if undo else sweep.last_vectors :],
            "n": shape.num_qubits,
            "t": shape.dimension,
            "batch": workspace.batch,
            "first_sample": first,
            "samples": count,
            "part": workspace.part,
            "ket": states[0],
            "bra": states[1],
            "numbers": workspace.numbers,
            "shared_numbers": self._numbers.num_shared,
            "tables": workspace.tables,
            "partials": partials,
            "capacity": sweep.capacity,
            "second": second,
        }
        measured = sweep.measured and undo and not shape.warp
        name = sweep_name(geometry.single, shape.register_qubits, shape.warp, undo, measured)
        self._runtime.launch(name, (blocks, 1), threads, shared_bytes, [self._runtime.structure(SWEEP, members)])

    def _room(self, count: int, bra: Buffer | None) -> Buffer | None:
        """For partial overlaps, if there is a bra: at least those of any one sweep, at most all of them."""
        if bra is None:
            return None
        needs = [len(loaded.sweep.slots) * loaded.sweep.shape.tiles * count for loaded in self._sweeps] or [0]
        wanted = min(sum(needs), FLUSH_BYTES // np.dtype(self._launcher.real).itemsize)
        return self._runtime.empty(max(*needs, wanted, 1), self._launcher.real)

    def _workspace_of(self, batch: int) -> Workspace:
        """The current stream's, or what is recorded has its own, which nobody else writes to."""
        kept = self._runtime.recorded
        if kept is None:
            return self.workspaces.get((self._runtime.stream(), batch), lambda: self._workspace(batch))
        if (self, batch) not in kept:
            kept[self, batch] = self._workspace(batch)
        found: Workspace = kept[self, batch]
        return found

    def _workspace(self, batch: int) -> Workspace:
        numbers, launcher, runtime = self._numbers, self._launcher, self._runtime
        return Workspace(
            batch,
            runtime.empty(max(numbers.num_shared + numbers.num_batched * batch, 1), launcher.real),
            runtime.empty(max(numbers.num_entries, 1), launcher.complex),
            runtime.empty(PART_BYTES // 8, np.int64) if len(self._sweeps) > 1 else None,
        )

    def _bind(self, coefficients: AnyCoefficients, workspace: Workspace) -> None:
        """Write coefficients where sweeps read them; they never change: what is there holds for both sweeps."""
        if workspace.holds is coefficients:
            return
        workspace.holds = None
        numbers, launcher, layout = workspace.numbers, self._launcher, self._numbers
        if isinstance(coefficients, CoefficientsOnDevice):
            if workspace.pieces is None or workspace.pieces[0] is not coefficients.map:
                pieces = layout.pieces(coefficients.sizes)
                workspace.pieces = coefficients.map, launcher.upload(pieces), len(pieces)
            _, places, count = workspace.pieces
            if count:
                values = [coefficients.numbers, coefficients.map.dense, places, count, len(numbers), numbers]
                launcher.each("pack_numbers", len(numbers), values)
            angles = coefficients.numbers
        else:
            self._runtime.write(numbers, layout.pack(coefficients, launcher.real))
            angles = launcher.upload(turns(coefficients.angles[: layout.counts["angles"]]))
        tables = len(layout.tables) // TABLE_WORDS
        for first in range(0, tables, MOST_TABLES):
            values = [self._tables[TABLE_WORDS * first :], self._terms, angles, numbers, workspace.tables]
            launcher.launch("fill_tables", (1, min(MOST_TABLES, tables - first)), values)
        workspace.holds = coefficients


def launch_size(geometry: Geometry, sweep: Sweep, samples: int, *, undo: bool) -> tuple[int, int, int, int]:
    """Size of a sweep's launch.

    Returns:
        Blocks, threads of a block, its bytes of shared memory, and the distance of a second tile in them (0: none).
    """
    t, w = sweep.shape.dimension, sweep.shape.register_qubits
    amplitude = geometry.amplitude_bytes
    if sweep.shape.warp:
        # a small batch is spread over the multiprocessors before it fills their blocks
        warps = -(-(samples << t - w) // 32)
        threads = 32 * min(-(-warps // geometry.limits.multiprocessors), WARP_THREADS // 32)
        groups = threads >> t - w
        return -(-samples // groups), threads, groups * amplitude << t, 0
    threads = 1 << t - w
    warps = -(-threads // 32)
    sums = warps * (sweep.capacity + 1) * amplitude // 2 if undo else 0
    # two blocks share the memory of a multiprocessor where their registers fit
    room = geometry.limits.shared_bytes // (2 if threads <= THREADS else 1)
    double = undo and (2 * amplitude << t) + sums <= room
    return samples * sweep.shape.tiles, threads, (amplitude << t) * (1 + double) + sums, (1 << t) * double
