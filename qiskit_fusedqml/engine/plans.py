"""The plans of a program, made when they are first needed.

A plan depends on structure only: the program's, which parameters differ from sample to sample, which gradients are
wanted, and how a batch of this size fills the device's lanes and threads; never on the values of parameters. Programs
of the same structure therefore share their plans (`SHARED`): copies of a circuit, and the bound copies of an ansatz,
whose angles the lowering turns into parameters.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import cached_property, partial

from ..devices import Device, has_memory
from ..ir.angles import AngleMap
from ..ir.program import Program, Rotation
from .basis_columns import BasisColumnSweeps, find_basis_columns
from .sweeps import PlannedSweeps, PlanRequest, Sweeps

Planned = PlannedSweeps | BasisColumnSweeps | None
"""What is made for a request: None where basis columns do not exist."""

MAX_PLANS = 16
"""Plans kept for a program; the least recently used one goes first."""

MAX_SHARED = 64
"""Plans that programs share; the least recently used one goes first."""

MAX_SHARED_INSTRUCTIONS = 1 << 15
"""Instructions of the programs of all these plans, which bounds their memory to some ten megabytes."""

ENTRIES_AN_INSTRUCTION = 16
"""Entries of tables and matrices that count as one."""


class PlanCache:
    """A cache of plans, bounded in number and in instructions. Calls from several threads at once are safe.

    Args:
        max_plans: The most plans.
        counts_instructions: Whether their programs together have at most `MAX_SHARED_INSTRUCTIONS` instructions.
    """

    def __init__(self, max_plans: int, *, counts_instructions: bool = False) -> None:
        self._max_plans = max_plans
        self._counts_instructions = counts_instructions
        self._plans: OrderedDict[Hashable, Planned] = OrderedDict()
        self._instructions = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Planned]) -> Planned:
        """The plan of a key, made now if it is not there."""
        with self._lock:
            if key in self._plans:
                self._plans.move_to_end(key)
                return self._plans[key]
        made = make()  # other threads need not wait for it
        with self._lock:
            if key not in self._plans:
                self._instructions += self._size(made)
            made = self._plans.setdefault(key, made)
            while len(self._plans) > self._max_plans or self._instructions > MAX_SHARED_INSTRUCTIONS:
                self._instructions -= self._size(self._plans.popitem(last=False)[1])
        return made

    def made(self) -> list[Planned]:
        """What is there, the least recently used first."""
        with self._lock:
            return list(self._plans.values())

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._plans.clear()
            self._instructions = 0

    def __len__(self) -> int:
        return len(self._plans)

    def _size(self, planned: Planned) -> int:
        if not self._counts_instructions or not isinstance(planned, PlannedSweeps):
            return 0
        return len(planned.plan.program.instructions)


SHARED = PlanCache(MAX_SHARED, counts_instructions=True)
"""The plans that all programs of this process share."""


class Plans:
    """Makes plans for a program and keeps them. Calls from several threads at once are safe.

    Args:
        program: The program.
        angle_map: Its angles.
        device: The device, whose numbers plans are made with.
    """

    def __init__(self, program: Program, angle_map: AngleMap, device: Device) -> None:
        self._program = program
        self._angle_map = angle_map
        self._device = device
        state = program.initial_state
        # basis columns start from one state, and their products are made on the host
        self._has_columns = (state is None or state.ndim == 1) and not has_memory(device)
        self._cache = PlanCache(MAX_PLANS)
        # the latest answers: a step of a small circuit takes microseconds
        self._answers: dict[PlanRequest, Sweeps] = {}
        self._lock = threading.Lock()

    def sweeps(self, request: PlanRequest) -> Sweeps:
        """The cheapest sweeps for a request."""
        found = self._answers.get(request)
        if found is None:
            with self._lock:  # threads that want the same plan wait for one of them to make it
                found = self._basis_columns(request) or self.planned(request)
                if len(self._answers) >= MAX_PLANS:
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
            request._replace(batch=0, basis_columns=False),
        )
        made = self._cache.get(key, partial(self._shared, key, request))
        assert isinstance(made, PlannedSweeps)
        return made

    def made(self) -> list[Planned]:
        """See `PlanCache.made`."""
        return self._cache.made()

    def _shared(self, key: Hashable, request: PlanRequest) -> Planned:
        device = (self._device.cost_model, self._device.coefficient_map)
        make = partial(PlannedSweeps, self._program, self._angle_map, device[0], request, device[1])
        return make() if self._structure is None else SHARED.get((self._structure, device, key), make)

    @cached_property
    def _structure(self) -> Hashable | None:
        """What plans are shared by; None where they are not: amplitudes and very long programs would stay in memory."""
        program = self._program
        entries = sum(each.entries.size for each in program.instructions if not isinstance(each, Rotation))
        size = len(program.instructions) + entries / ENTRIES_AN_INSTRUCTION
        if program.initial_state is not None or size > MAX_SHARED_INSTRUCTIONS:
            return None
        angles = self._angle_map.structure()
        return None if angles is None else (program.structure(), angles)

    def _basis_columns(self, request: PlanRequest) -> BasisColumnSweeps | None:
        wide = request.batch >> self._program.num_qubits > 1
        if not (self._has_columns and request.basis_columns and wide) or request.any_start:
            return None
        make = partial(find_basis_columns, self._program, self._angle_map, self._device, request)
        columns = self._cache.get(request._replace(batch=0), make)
        return columns if isinstance(columns, BasisColumnSweeps) and columns.pays(request.batch) else None
