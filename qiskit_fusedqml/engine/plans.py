"""The plans of a program, made when they are first needed.

A plan depends on structure only: the program's, which parameters differ from sample to sample, which gradients are
wanted, and how a batch of this size fills the device's lanes and threads; never on the values of parameters. Programs
of the same structure therefore share their plans (`SHARED`): copies of a circuit, and the bound copies of an ansatz,
whose angles the lowering turns into parameters.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from functools import cached_property, partial

from ..devices import Device
from ..devices.own_memory import has_memory
from ..devices.pauli_vector.device import MixedStateDevice
from ..ir.angles import AngleMap
from ..ir.program import Program, Rotation
from ..memory import BoundedCache
from .basis_columns import BasisColumnSweeps, find_basis_columns
from .mixed_sweeps import CollapsedSweeps, MixedSweeps, find_collapsed
from .sweeps import PlannedSweeps, PlanRequest, Sweeps

Planned = PlannedSweeps | BasisColumnSweeps | CollapsedSweeps | None
"""What is made for a request: None where basis columns do not exist."""

MAX_PLANS = 32
"""Plans kept for a program."""

MAX_ANSWERS = 2 * MAX_PLANS
"""Answers of `Plans.sweeps` that are kept; they keep their plans from being freed."""

MAX_SHARED_INSTRUCTIONS = 1 << 17
"""Instructions of the programs of all plans that are shared, which bounds their memory to some forty megabytes."""

PLAN_INSTRUCTIONS = 64
"""What a plan takes beside its instructions, in instructions."""

ENTRIES_AN_INSTRUCTION = 16
"""Entries of tables and matrices that count as one."""


def plan_size(planned: Planned) -> int:
    """What a plan takes, in instructions."""
    return PLAN_INSTRUCTIONS + (len(planned.plan.program.instructions) if isinstance(planned, PlannedSweeps) else 0)


SHARED: BoundedCache[Hashable, Planned] = BoundedCache(MAX_SHARED_INSTRUCTIONS, plan_size)
"""The plans that all programs of this process share."""


class Plans:
    """Makes plans for a program on a device and keeps them. Calls from several threads at once are safe."""

    def __init__(self, program: Program, angle_map: AngleMap, device: Device) -> None:
        self._program = program
        self._angle_map = angle_map
        self._device = device
        self._is_mixed = isinstance(device, MixedStateDevice)
        state = program.initial_state
        # basis columns start from one state, and their products are made on the host
        self._has_columns = (state is None or state.ndim == 1) and not has_memory(device)
        self._cache: BoundedCache[Hashable, Planned] = BoundedCache(MAX_PLANS)
        # the latest answers: a step of a small circuit takes microseconds
        self._answers: dict[PlanRequest, Sweeps] = {}
        self._lock = threading.Lock()

    def sweeps(self, request: PlanRequest) -> Sweeps:
        """The cheapest sweeps for a request."""
        found = self._answers.get(request)
        if found is None:
            with self._lock:  # threads that want the same plan wait for one of them to make it
                found = self._for_all_samples(request) or self.planned(request)
                if len(self._answers) >= MAX_ANSWERS:
                    self._answers = {}
                self._answers[request] = found
        return found

    def planned(self, request: PlanRequest) -> PlannedSweeps:
        """The sweeps by a plan."""
        model, n = self._device.cost_model, self._program.num_qubits
        lane_qubits = model.lane_qubits(n, request.batch)
        key = (
            lane_qubits,
            model.tile_limit(n, lane_qubits, request.batch),
            request._replace(batch=0, summed=False),
        )
        made = self._cache.get(key, partial(self._shared, key, request))
        assert isinstance(made, PlannedSweeps)
        return made

    def made(self) -> list[Planned]:
        """What has been made, the newest last."""
        return self._cache.values()

    def _shared(self, key: Hashable, request: PlanRequest) -> Planned:
        device = (self._device.cost_model, self._device.coefficient_map)
        kind = MixedSweeps if self._is_mixed else PlannedSweeps
        make = partial(kind, self._program, self._angle_map, device[0], request, device[1])
        return make() if self._structure is None else SHARED.get((self._structure, device, key), make)

    @cached_property
    def _structure(self) -> Hashable | None:
        """What plans are shared by; None where they are not: amplitudes and very long programs would stay in memory."""
        program = self._program
        entries = 0
        if set(map(type, program.instructions)) != {Rotation}:
            entries = sum(each.entries.size for each in program.instructions if not isinstance(each, Rotation))
        size = len(program.instructions) + entries / ENTRIES_AN_INSTRUCTION
        if program.initial_state is not None or size > MAX_SHARED_INSTRUCTIONS:
            return None
        angles = self._angle_map.structure()
        return None if angles is None else (program.structure(), angles)

    def _for_all_samples(self, request: PlanRequest) -> Sweeps | None:
        """Sweeps with states that all samples share, where there are any and they are cheaper."""
        if self._is_mixed:
            return self._collapsed(request) if request.summed and request.batch > 1 else None
        return self._basis_columns(request)

    def _collapsed(self, request: PlanRequest) -> CollapsedSweeps | None:
        assert isinstance(self._device, MixedStateDevice)
        make = partial(find_collapsed, self._program, self._angle_map, self._device, request)
        found = self._cache.get(request._replace(batch=0), make)
        return found if isinstance(found, CollapsedSweeps) else None

    def _basis_columns(self, request: PlanRequest) -> BasisColumnSweeps | None:
        wide = request.batch >> self._program.num_qubits > 1
        if not (self._has_columns and request.summed and wide) or request.any_start:
            return None
        make = partial(find_basis_columns, self._program, self._angle_map, self._device, request)
        columns = self._cache.get(request._replace(batch=0), make)
        return columns if isinstance(columns, BasisColumnSweeps) and columns.pays(request.batch) else None
