"""``python -m qiskit_fusedqml calibrate``: measures what the planner has to know about this machine.

`probes` are what is timed, undisturbed by other programs; here the numbers of `qiskit_fusedqml.devices.calibration` are
made of the times. One file is written, at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from ..devices.calibration import Calibration, Table, TableError, caches, cpu_model, find, read, user_file, write
from ..devices.checks import PRECISIONS
from ..devices.cpu import CPUDevice, instruction_set
from ..errors import InvalidInputError
from ..planner.cost import KINDS, Factors
from .probes import Probe, States, Timer, operations_probe, program_step, traffic_probe

__all__ = ["Report", "Sizes", "calibrate", "describe", "measure", "show"]

_DIGITS = 3
"""Significant digits that are kept; timings have no more."""

_CLEARLY = 0.05
"""A size other than the usual one must be that much faster: on all threads at once there is less cache for each."""

_PROGRAM_ROUNDS = 7
"""Rounds of programs, which take longer than operations, on machines too busy for more."""


@dataclass(frozen=True)
class Sizes:
    """How large the states are that are timed, in powers of 2, and for how long.

    Attributes:
        tile_bytes: Bytes of the tile in which operations are timed; the tiles that are tried lie around it.
        tiles: Exponents of the tiles that are tried, relative to ``tile_bytes``.
        wholes: Exponents of the states that are tried as a whole, relative to ``tile_bytes``; larger ones are more than
            a core's share of the last cache, which one thread alone would not notice.
        traffic: Exponent of the state beyond the caches, relative to ``tile_bytes``.
        programs: Exponents of the states that are cut into tiles, relative to ``tile_bytes``.
        layers: Layers of the programs.
        half_qubits: Qubits of the small circuits with which half-width vectors are timed.
        timer: How long each question is asked; that for the costs of operations, the longest one, thrice as long.
    """

    tile_bytes: int = 2**18
    tiles: tuple[int, ...] = (-2, -1, 0, 1, 2)
    wholes: tuple[int, ...] = (0, 1, 2, 3)
    traffic: int = 7
    programs: tuple[int, ...] = (4, 5)
    layers: int = 3
    half_qubits: tuple[int, ...] = (6, 9)
    timer: Timer = field(default_factory=lambda: Timer(seconds=2.0))


Report: TypeAlias = Callable[[str], None]


def calibrate(output: Path | None, report: Report, sizes: Sizes | None = None) -> Path:
    """Measure the instruction set in use in both precisions, and write the table.

    A table in the file keeps what it says about other instruction sets.

    Args:
        output: The file; by default the one in the user's cache folder that the CPU device reads.
        report: Told about the progress and the result, a line or some at a time.
        sizes: What is timed.

    Returns:
        The file.

    Raises:
        InvalidInputError: If there is no cache folder, or the output is a file of another kind.
        OSError: If the file cannot be written.
    """
    path = user_file() if output is None else output
    if path is None:
        raise InvalidInputError("There is no home folder for the table; name a file with --output FILE.")
    table = _kept(path, given=output is not None)
    isa, start = instruction_set(), time.monotonic()
    before = {precision: find(isa, precision)[0] for precision in PRECISIONS}

    def progress(precision: str, what: str) -> None:
        report(f"{time.monotonic() - start:5.1f} s  {precision}: {what}")

    after = {precision: measure(precision, sizes or Sizes(), partial(progress, precision)) for precision in PRECISIONS}
    table.update({(isa, precision): entry for precision, entry in after.items()})
    write(table, path)
    report("\n" + describe(isa, before, after))
    report(f"\nWritten to {path}")
    return path


def show(report: Report) -> None:
    """Report the numbers in use and where they come from."""
    isa = instruction_set()
    found = {precision: find(isa, precision) for precision in PRECISIONS}
    for precision, (_, source) in found.items():
        report(f"{precision}: {source}")
    report("\n" + describe(isa, {precision: numbers for precision, (numbers, _) in found.items()}))


def describe(isa: str, before: Mapping[str, Calibration], after: Mapping[str, Calibration] | None = None) -> str:
    """Calibrations by precision as a table for people; with ``after``, each number as "before -> after"."""
    columns = [_words(numbers) for numbers in before.values()]
    if after is not None:
        later = [_words(after[precision]) for precision in before]
        columns = [{k: f"{old[k]} -> {new[k]}" for k in old} for old, new in zip(columns, later, strict=True)]
    lines = [f"{isa + ' on ' + cpu_model():<52}" + "".join(f"{precision:>18}" for precision in before)]
    lines += [f"{name:<52}" + "".join(f"{column[name]:>18}" for column in columns) for name in columns[0]]
    return "\n".join(lines)


def _words(numbers: Calibration) -> dict[str, str]:
    """Each number and what it is called."""
    costs = {
        f"cost of a multiply-add, {kind}, {direction}": f"{factor:.3g}"
        for kind, factors in numbers.factors
        for direction, factor in zip(("forward", "backward"), factors, strict=True)
    }
    return {
        "qubits of a tile that is copied": str(numbers.tile_qubits),
        "qubits of a state worked on as a whole": str(numbers.whole_qubits),
        "time of a group in vectors of half the width": f"{numbers.half_width_cost:.3g}",
        "multiply-adds while a byte moves": f"{numbers.byte_cost:.3g}",
        **costs,
    }


def _kept(path: Path, *, given: bool) -> Table:
    """What a file already says; a broken table in the cache is replaced, some other file is not."""
    if not path.exists():
        return {}
    try:
        return read(path)
    except TableError as error:
        if given:
            raise InvalidInputError(f"{path} exists and would be lost: {error} Name another file.") from None
        return {}


def measure(precision: str, sizes: Sizes, report: Report) -> Calibration:
    """Measure this machine, with the instruction set in use, on one thread.

    Args:
        precision: "double" or "single".
        sizes: What is timed.
        report: Told what is measured next.
    """
    device = CPUDevice(precision, 1)
    model = device.cost_model
    tile = (sizes.tile_bytes // model.amplitude_bytes // model.lanes).bit_length() - 1
    report("multiply-adds of each kind of operation")
    unit, factors = _factors(device, tile, sizes.timer)
    report("moves of tiles to and from memory")
    byte_cost = _byte_cost(device, tile + sizes.traffic, unit, sizes.timer)
    now = replace(find(device.instruction_set, precision)[0], byte_cost=byte_cost, factors=factors)
    trials = _Trials(precision, sizes, tile)
    report("sizes of tiles that are copied")
    now = replace(now, tile_qubits=trials.tile_qubits(now))
    report("sizes of states worked on where they lie")
    now = replace(now, whole_qubits=trials.whole_qubits(now))
    report("vectors of half the width")
    now = replace(now, half_width_cost=trials.half_width_cost(now))
    return replace(now, cpu=cpu_model(), date=datetime.now(UTC).date().isoformat(), caches=caches())


def _factors(device: CPUDevice, num_qubits: int, timer: Timer) -> tuple[float, Factors]:
    """Seconds of a multiply-add of a factored RY forward, and what the others take relative to it."""
    states = States.of(device, num_qubits)
    probes = [operations_probe(kind, states) for kind in KINDS]
    amplitudes = device.cost_model.lanes << num_qubits
    times = _both_ways(probes, replace(timer, seconds=3 * timer.seconds))
    seconds = [(f / probe.work.forward, b / probe.work.backward) for probe, (f, b) in zip(probes, times, strict=True)]
    unit = seconds[KINDS.index("ry_factored")][0]
    relative = ((_rounded(forward / unit), _rounded(backward / unit)) for forward, backward in seconds)
    return unit / amplitudes, Factors(**dict(zip(KINDS, relative, strict=True)))


def _byte_cost(device: CPUDevice, num_qubits: int, unit: float, timer: Timer) -> float:
    """What is left of a pass's time once its arithmetic is taken off, by bytes moved."""
    probe = traffic_probe(States.of(device, num_qubits))
    ((forward, backward),) = _both_ways([probe], timer)
    multiply_adds = (forward + backward) / (unit * (device.cost_model.lanes << num_qubits))
    moving = multiply_adds - probe.work.forward - probe.work.backward
    # a machine whose memory is as fast as its arithmetic would leave nothing; a byte still costs something
    return _rounded(max(moving / (probe.work.forward_bytes + probe.work.backward_bytes), 0.01))


def _both_ways(probes: Sequence[Probe], timer: Timer) -> list[tuple[float, float]]:
    times = timer.fastest([action for probe in probes for action in (probe.forward, probe.backward)])
    return list(zip(times[::2], times[1::2], strict=True))


class _Trials(NamedTuple):
    """Programs on devices that plan with different numbers; ``tile`` is the exponent of ``tile_bytes``."""

    precision: str
    sizes: Sizes
    tile: int

    def tile_qubits(self, now: Calibration) -> int:
        """The tile with which large states take the least time; among equals the one nearest the middle."""
        tiles = [self.tile + k for k in self.sizes.tiles]
        devices = [self._device(now, tile_qubits=tile, whole_qubits=1) for tile in tiles]
        times = [self._times(devices, self.tile + k) for k in self.sizes.programs]
        scores = [prod(column) for column in zip(*times, strict=True)]  # a geometric mean: each program counts alike
        most = min(scores) * (1 + _CLEARLY) ** len(times)
        good = [tile for tile, score in zip(tiles, scores, strict=True) if score <= most]
        middle = tiles[len(tiles) // 2]
        return min(good, key=lambda tile: (abs(tile - middle), tile))

    def whole_qubits(self, now: Calibration) -> int:
        """The largest state that takes clearly less time as a whole than cut into tiles, as all smaller ones do."""
        best = now.tile_qubits  # a state of one tile is worked on where it lies in any case
        for dimension in sorted(self.tile + k for k in self.sizes.wholes):
            if dimension > best:
                devices = [self._device(now, whole_qubits=whole) for whole in (1, dimension)]
                in_tiles, at_once = self._times(devices, dimension)
                if at_once * (1 + _CLEARLY) > in_tiles:
                    break
                best = dimension
        return best

    def half_width_cost(self, now: Calibration) -> float:
        """Time of a group of samples in half-width vectors beside one of the full width; 1 if there are no others."""
        # a cost below half makes the device take twice as many narrow groups, one of 1 never
        devices = [self._device(now, half_width_cost=cost) for cost in (0.4, 1.0)]
        model = devices[0].cost_model
        if model.half_lanes == model.lanes:
            return 1.0
        layers, batch = 4 * self.sizes.layers, 4 * model.lanes
        steps = [program_step(each, n, layers, batch) for n in self.sizes.half_qubits for each in devices]
        times = self.sizes.timer.fastest(steps)
        return _rounded((prod(times[::2]) / prod(times[1::2])) ** (1 / len(self.sizes.half_qubits)) / 2)

    def _device(self, now: Calibration, **changes: Any) -> CPUDevice:
        return CPUDevice(self.precision, 1, replace(now, **changes))

    def _times(self, devices: Sequence[CPUDevice], num_qubits: int) -> list[float]:
        """Seconds of a layered circuit whose states have so many dimensions when each sample fills a lane."""
        timer = self.sizes.timer
        timer = replace(timer, fewest_rounds=min(_PROGRAM_ROUNDS, timer.most_rounds))
        lanes = devices[0].cost_model.lanes
        return timer.fastest([program_step(device, num_qubits, self.sizes.layers, lanes) for device in devices])


def _rounded(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")
