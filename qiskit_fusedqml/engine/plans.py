"""The plans of one program, made when they are first needed.

A plan depends on structure only: the program's, which parameters differ from row to row, which gradients are wanted,
and how a batch of this size fills the device's lanes and threads; never on the values of parameters. Programs of the
same structure therefore share their plans (`SHARED`): copies of a circuit, and the bound copies of an ansatz, whose
angles the lowering turns into parameters.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import cached_property
from typing import TypeVar, cast

from ..devices import Device, has_memory
from ..ir.angles import AngleMap
from ..ir.program import Program
from .binding import Binding
from .columns import Columns, find_columns
from .parameters import ParameterBatch, ParameterSet

_Kept = TypeVar("_Kept", bound="Binding | Columns | None")

MAX_PLANS = 16
"""Plans kept for a program; the least recently used one goes first."""

MAX_SHARED = 64
"""Plans that programs share; the least recently used one goes first."""

MAX_SHARED_INSTRUCTIONS = 1 << 15
"""Instructions of the programs of all these plans, which bounds their memory to some ten megabytes."""


class SharedPlans:
    """A bounded store of plans by structure. Calls from several threads at once are safe."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, Binding] = OrderedDict()
        self._instructions = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Binding]) -> Binding:
        """The plan of a key, made now if it is not there."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
        made = make()  # other threads need not wait for it
        with self._lock:
            if key not in self._kept:
                self._instructions += _size(made)
            self._kept[key] = made
            while len(self._kept) > MAX_SHARED or self._instructions > MAX_SHARED_INSTRUCTIONS:
                self._instructions -= _size(self._kept.popitem(last=False)[1])
        return made

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
            self._instructions = 0

    def __len__(self) -> int:
        return len(self._kept)


def _size(binding: Binding) -> int:
    return len(binding.plan.program.instructions)


SHARED = SharedPlans()
"""The plans that all programs of this process share."""


class PlanStore:
    """Makes plans for a program and keeps them. Calls from several threads at once are safe.

    Args:
        program: The program.
        angle_map: Its angles.
        device: The device, whose numbers plans are made with.
        diagonal: Whether all observables are diagonal, so that expectation values need populations only.
        any_start: Whether all sweeps start from amplitudes that the program does not hold.
    """

    def __init__(
        self, program: Program, angle_map: AngleMap, device: Device, *, diagonal: bool, any_start: bool = False
    ) -> None:
        self._program = program
        self._angle_map = angle_map
        self._device = device
        self._diagonal = diagonal
        self._any_start = any_start
        state = program.initial_state
        self._one_start = not any_start and (state is None or state.ndim == 1)
        # their products would be made on the host, far from the states
        self._has_columns = self._one_start and not has_memory(device)
        self._made: OrderedDict[tuple[object, ...], Binding | Columns | None] = OrderedDict()
        # what `sweeps` said since a plan was last made: a step of a small circuit takes microseconds
        self._recent: dict[tuple[object, ...], Binding | Columns] = {}
        self._lock = threading.Lock()

    def binding(
        self,
        varying: ParameterSet,
        wanted: ParameterSet,
        batch: int,
        *,
        keep_phase: bool = False,
        populations: bool = False,
        any_start: bool = False,
    ) -> Binding:
        """The plan for a pattern of varying and wanted parameters; options as of `Binding`."""
        model, n, any_start = self._device.cost_model, self._program.num_qubits, any_start or self._any_start
        spread = model.lane_qubits(n, batch)
        tile_limit = model.tile_limit(n, spread, batch)
        key = (varying.key, wanted.key, spread, tile_limit, keep_phase, populations, any_start)
        return self._kept(
            key,
            lambda: self._shared(
                key,
                lambda: Binding(
                    self._program,
                    self._angle_map,
                    model,
                    varying=varying.indices,
                    wanted=wanted.indices,
                    batch=batch,
                    keep_phase=keep_phase,
                    populations=populations,
                    any_start=any_start,
                    coefficient_map=self._device.coefficient_map,
                ),
            ),
        )

    def _shared(self, key: Hashable, make: Callable[[], Binding]) -> Binding:
        structure = self._structure
        device = (self._device.cost_model, self._device.coefficient_map)
        return make() if structure is None else SHARED.get((structure, device, key), make)

    @cached_property
    def _structure(self) -> Hashable | None:
        """What plans are shared by; None where they are not: amplitudes and very long programs would stay in memory."""
        program = self._program
        if program.initial_state is not None or len(program.instructions) > MAX_SHARED_INSTRUCTIONS:
            return None
        angles = self._angle_map.structure()
        return None if angles is None else (program.structure(), angles)

    def values_binding(self, varying: ParameterSet, wanted: ParameterSet, batch: int) -> Binding:
        """The plan for expectation values and their gradients."""
        return self.binding(varying, wanted, batch, populations=self._diagonal)

    def sweeps(self, parameters: ParameterBatch, wanted: ParameterSet) -> Binding | Columns:
        """The cheapest way from a batch to expectation values and their gradients."""
        key = (parameters.varying, wanted, parameters.batch, parameters.by_row)
        found = self._recent.get(key)
        if found is None:
            found = self._cheapest(parameters, wanted)
            if len(self._recent) < MAX_PLANS:
                self._recent[key] = found
        return found

    def _cheapest(self, parameters: ParameterBatch, wanted: ParameterSet) -> Binding | Columns:
        batch, varying = parameters.batch, parameters.varying
        if self._has_columns and not parameters.by_row and batch >> self._program.num_qubits > 1:
            columns = self._kept(
                ("columns", varying.key, wanted.key),
                lambda: find_columns(
                    self._program, self._angle_map, self._device, varying, wanted, populations=self._diagonal
                ),
            )
            if columns is not None and columns.pays(batch):
                return columns
        return self.values_binding(varying, wanted, batch)

    def made(self) -> list[Binding | Columns | None]:
        """What is there, the least recently used first; None where basis columns do not exist."""
        with self._lock:
            return list(self._made.values())

    def _kept(self, key: tuple[object, ...], make: Callable[[], _Kept]) -> _Kept:
        with self._lock:
            if key not in self._made:
                self._made[key] = make()
                self._recent = {}
                if len(self._made) > MAX_PLANS:
                    self._made.popitem(last=False)
            self._made.move_to_end(key)
            return cast(_Kept, self._made[key])
