"""From timings to the numbers of one instruction set and precision."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import prod

from ..devices.calibration import Calibration, cpu_model, find
from ..devices.cpu import CPUDevice
from ..planner.cost import (
    KINDS,
    BothWays,
    Factors,
    Work,
)
from .probes import (
    Probe,
    States,
    Timer,
    operations_probe,
    program_step,
    traffic_probe,
)

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
        half_qubits: Qubits of the small circuits with which half-width vectors are tried.
        timer: How long each question is asked; that for the costs of operations, the longest one, thrice as long.
    """

    tile_bytes: int = 2**18
    tiles: tuple[int, ...] = (-2, -1, 0, 1, 2)
    wholes: tuple[int, ...] = (0, 1, 2, 3)
    traffic: int = 7
    programs: tuple[int, ...] = (4, 5)
    layers: int = 3
    half_qubits: tuple[int, ...] = (4, 6)
    timer: Timer = field(default_factory=lambda: Timer(seconds=2.0))


Report = Callable[[str], None]


def measure(precision: str, sizes: Sizes, report: Report) -> Calibration:
    """Measure this machine, with the instruction set in use, on one thread.

    Args:
        precision: "double" or "single".
        sizes: What is timed.
        report: Told what is measured next.
    """
    device = CPUDevice(precision, 1)
    start = find(device.instruction_set, precision)[0]
    model = device.cost_model
    amplitudes = sizes.tile_bytes // model.amplitude_bytes
    tile = (amplitudes // model.lanes).bit_length() - 1

    report("multiply-adds of each kind of operation")
    unit, factors = _factors(device, tile, sizes.timer)
    report("moves of tiles to and from memory")
    byte_cost = _byte_cost(device, tile + sizes.traffic, unit, sizes.timer)
    now = replace(start, byte_cost=byte_cost, factors=factors)
    report("sizes of tiles that are copied")
    tile_qubits = _tile_qubits(
        precision, now, [tile + k for k in sizes.tiles], [tile + k for k in sizes.programs], sizes
    )
    now = replace(now, tile_qubits=tile_qubits)
    report("sizes of states worked on where they lie")
    now = replace(now, whole_qubits=_whole_qubits(precision, now, [tile + k for k in sizes.wholes], sizes))
    report("vectors of half the width")
    now = replace(now, half_width=_half_width(precision, now, sizes))
    return replace(now, cpu=cpu_model(), date=datetime.now(UTC).date().isoformat())


def _factors(device: CPUDevice, num_qubits: int, timer: Timer) -> tuple[float, Factors]:
    """Seconds of a multiply-add of a factored RY forward, and what the others take relative to it."""
    states = States.of(device, num_qubits)
    probes = [operations_probe(kind, states) for kind in KINDS]
    amplitudes = device.cost_model.lanes << num_qubits
    longer = replace(timer, seconds=3 * timer.seconds)
    each: dict[str, BothWays] = {}
    for kind, probe, (forward, backward) in zip(KINDS, probes, _both_ways(probes, longer), strict=True):
        each[kind] = forward / (probe.work.forward * amplitudes), backward / (probe.work.backward * amplitudes)
    unit = each["ry_factored"][0]
    return unit, Factors(
        **{kind: (_rounded(there / unit), _rounded(back / unit)) for kind, (there, back) in each.items()}
    )


def _byte_cost(device: CPUDevice, num_qubits: int, unit: float, timer: Timer) -> float:
    """What is left of a pass's time once its arithmetic is taken off, by bytes moved."""
    probe = traffic_probe(States.of(device, num_qubits))
    ((forward, backward),) = _both_ways([probe], timer)
    multiply_adds = (forward + backward) / (unit * (device.cost_model.lanes << num_qubits))
    work: Work = probe.work
    moving = multiply_adds - work.forward - work.backward
    # a machine whose memory is as fast as its arithmetic would leave nothing; a byte still costs something
    return _rounded(max(moving / (work.forward_bytes + work.backward_bytes), 0.01))


def _both_ways(probes: Sequence[Probe], timer: Timer) -> Iterable[tuple[float, float]]:
    times = timer.fastest([action for probe in probes for action in (probe.forward, probe.backward)])
    return zip(times[::2], times[1::2], strict=True)


def _tile_qubits(precision: str, now: Calibration, tiles: Sequence[int], dims: Sequence[int], sizes: Sizes) -> int:
    """The tile with which states of these dimensions take the least time; among equals the one nearest the middle."""
    devices = [CPUDevice(precision, 1, replace(now, tile_qubits=tile, whole_qubits=1)) for tile in tiles]
    times = [_program_times(devices, dim, sizes) for dim in dims]
    scores = [prod(column) for column in zip(*times, strict=True)]  # as a geometric mean: each program counts alike
    good = [t for t, score in zip(tiles, scores, strict=True) if score <= min(scores) * (1 + _CLEARLY) ** len(times)]
    middle = tiles[len(tiles) // 2]
    return min(good, key=lambda tile: (abs(tile - middle), tile))


def _whole_qubits(precision: str, now: Calibration, dims: Sequence[int], sizes: Sizes) -> int:
    """The largest state that takes clearly less time as a whole than cut into tiles, as all smaller ones do."""
    cut = CPUDevice(precision, 1, replace(now, whole_qubits=1))
    best = now.tile_qubits  # a state of one tile is worked on where it lies in any case
    for dim in sorted(dims):
        if dim <= best:
            continue
        whole = CPUDevice(precision, 1, replace(now, whole_qubits=dim))
        in_tiles, at_once = _program_times([cut, whole], dim, sizes)
        if at_once * (1 + _CLEARLY) > in_tiles:
            break
        best = dim
    return best


def _program_times(devices: Sequence[CPUDevice], dims: int, sizes: Sizes) -> list[float]:
    """Seconds of a layered circuit whose state has so many dimensions when each sample fills a lane."""
    lanes = devices[0].cost_model.lanes
    timer = replace(sizes.timer, fewest_rounds=min(_PROGRAM_ROUNDS, sizes.timer.most_rounds))
    return timer.fastest([program_step(device, dims, sizes.layers, lanes) for device in devices])


def _half_width(precision: str, now: Calibration, sizes: Sizes) -> bool:
    """Whether batches that do not fill the lanes take less time with half of them."""
    half, full = (CPUDevice(precision, 1, replace(now, half_width=pays)) for pays in (True, False))
    batch = half.cost_model.half_lanes
    if batch == half.cost_model.lanes:
        return False  # there are no other vectors
    steps = [program_step(device, n, 4 * sizes.layers, batch) for n in sizes.half_qubits for device in (half, full)]
    times = sizes.timer.fastest(steps)
    return prod(times[::2]) <= prod(times[1::2])


def _rounded(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")
