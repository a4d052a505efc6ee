"""The plans of one program, made when they are first needed.

A plan depends on structure only: which parameters differ from row to row, which gradients are wanted, and how a batch
of this size fills the device's lanes and threads.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar, cast

from .angles import AngleMap
from .binding import Binding
from .columns import Columns, find_columns
from .devices import Device, DeviceWithMemory
from .parameters import ParameterBatch, ParameterSet
from .program import Program

_Kept = TypeVar("_Kept", bound="Binding | Columns | None")

MAX_PLANS = 16
"""Plans kept for a program; the least recently used one goes first."""


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
        self._has_columns = self._one_start and not isinstance(device, DeviceWithMemory)
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
        spread = model.spread_qubits(n, batch)
        tile_limit = model.tile_limit(n, spread, batch)
        return self._kept(
            (varying.key, wanted.key, spread, tile_limit, keep_phase, populations, any_start),
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
            ),
        )

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
                    self._program, self._angle_map, self._device.cost_model, varying, wanted, populations=self._diagonal
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
