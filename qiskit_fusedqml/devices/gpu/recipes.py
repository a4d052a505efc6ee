"""Recipes on the device: coefficients from values and gradients from overlaps that are in its memory and stay there.

What the host does once for a binding (`tables`), the kernels of ``recipe.cuh`` and ``formulas.cuh`` read in every call:
two launches from values to coefficients, two to five from overlaps to gradients, and one more each way where there are
expressions. Which of cosine and sine is taken out of a rotation, and what else depends on values, is found there, too.
Nobody looks whether values are finite: what comes of others is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...planner.tables import BindingTables
from .launches import THREADS, Launcher, Partials
from .layout import Sizes
from .runtime import (
    Argument,
    Buffer,
    integer,
    long_integer,
)
from .sequences import LoadedTape, Workspace
from .sources import (
    ADD_COLUMNS,
    BIND_SHARED,
    BIND_VALUES,
    EVALUATE_FEATURES,
    PULL_FEATURES,
    PULL_RUNS,
    PULL_VALUES,
    SET_RECIPE,
)
from .tables import (
    FeatureTables,
    Gathering,
    GradientTables,
    feature_gradients,
    joined_rows,
    overlap_gradients,
    scaling_tables,
    stated_rows,
)

RECIPE_BYTES = 256
"""At least those of a `CoefficientMap` in the kernels."""

FEATURE_THREADS = 1 << 15
"""Threads that evaluate features; each has room for the steps of one."""

LONG_ROW = 8
"""Items of a sum, on average, from which a warp adds them."""


class LoadedGathering:
    """A `Gathering` on the device."""

    def __init__(self, launcher: Launcher, gathering: Gathering) -> None:
        self.targets = len(gathering.start) - 1
        self.start, self.items = (launcher.upload(np.asarray(a, np.int32)) for a in gathering[:2])
        self.weights = launcher.upload(gathering.weights)
        self.team = 32 if len(gathering.items) > LONG_ROW * self.targets else 1


class LoadedFeatures:
    """Features and their gradients on the device."""

    def __init__(self, launcher: Launcher, tables: BindingTables) -> None:
        features = FeatureTables.of(tables.shared_expressions, tables.batched_expressions)
        self.num_members, self.num_shared = len(features.members), features.num_shared
        self.shared_slots, self.own_slots = features.shared_slots, len(features.slots) - features.shared_slots
        self.most_nodes = features.most_nodes
        words = (features.members, features.nodes, features.slots)
        self.arrays = [launcher.upload(np.asarray(array, np.int32).reshape(-1)) for array in words]
        self.arrays.append(launcher.upload(features.constants))
        self.gradients = _loaded(launcher, feature_gradients(tables, features))


def _loaded(launcher: Launcher, tables: GradientTables) -> tuple[LoadedGathering, ...]:
    return tuple(LoadedGathering(launcher, gathering) for gathering in tables)


class LoadedRecipe:
    """A binding's tables on the device.

    Args:
        launcher: Launches the kernels.
        tables: The tables.
    """

    def __init__(self, launcher: Launcher, tables: BindingTables) -> None:
        recipe = tables.coefficients
        groups, run_start, axes = stated_rows(tables)
        counts = [len(group.constants) for group in groups]
        rows = joined_rows(groups)
        start, sources, weights = rows.entries.compressed(len(rows.constants))
        words, stretch_start, plain = scaling_tables(tables)
        self.num_parameters, self.num_columns = tables.num_parameters, len(tables.batched_parameters)
        self.num_base, self.num_row = tables.angles.num_shared, tables.angles.num_batched
        self.num_runs, self.num_blends, self.num_own_blends = (
            len(runs) for runs in (recipe.sequences[0], recipe.matrices[0], recipe.batched_matrices[0])
        )
        self.shared_gates, self.own_gates = counts[0] + counts[1], counts[2]
        self.num_own_pairs, self.num_own_terms, self.num_pairs, self.num_terms = counts[3:]
        self.num_scales, self.num_scalings, self.num_overlaps = recipe.num_scales, len(words), recipe.num_overlaps
        self.num_stretches, self.num_plain = len(stretch_start) - 1, len(plain)
        self.num_features = self.num_base - self.num_parameters
        sizes = [self.num_parameters, self.num_columns, self.num_features, self.num_runs, self.num_blends]
        sizes += [self.num_own_blends, self.shared_gates, self.shared_gates + self.own_gates, self.num_pairs]
        sizes += [self.num_scales, self.num_terms, self.num_own_pairs, self.num_own_terms, self.num_stretches]
        sizes += [self.num_plain, self.num_scalings, self.num_overlaps]
        blend_overlaps = np.concatenate([recipe.matrices[1].reshape(-1), recipe.batched_matrices[1].reshape(-1)])
        arrays = [start, sources, weights, rows.constants, run_start, axes, words, stretch_start, plain]
        arrays += [recipe.sequences[1].reshape(-1), recipe.sequences[3], blend_overlaps, recipe.scales.overlap_position]
        self._kept = [
            launcher.upload(np.asarray(a, np.float64 if a.dtype == np.float64 else np.int32))
            for a in [np.array(sizes), *arrays, recipe.sequences[2].reshape(-1)]
        ]
        self.record = launcher.runtime.empty(RECIPE_BYTES // 8, np.int64)
        launcher.runtime.launch(SET_RECIPE, (1, 1), 1, 0, [self.record, *self._kept])
        dense = [np.stack([m.real, m.imag], -1).reshape(-1) for m in recipe.dense]
        self.dense = launcher.upload(np.concatenate([np.zeros(0), *dense]))
        self.dense_qubits = tuple(len(matrix).bit_length() - 1 for matrix in recipe.dense)
        self.gradients = _loaded(launcher, overlap_gradients(tables, groups))
        self.features = (
            LoadedFeatures(launcher, tables) if tables.shared_expressions or tables.batched_expressions else None
        )
        launcher.runtime.synchronize()  # it is read from any stream from now on

    def sizes(self, batch: int) -> Sizes:
        """How many coefficients there are."""
        return Sizes(
            *(self.num_pairs, self.num_own_pairs, self.num_blends, self.num_own_blends, self.num_terms),
            *(self.num_own_terms, self.num_scales, self.dense_qubits, batch),
        )

    @property
    def num_shared(self) -> int:
        """Number of shared numbers."""
        return self.num_terms + 2 * self.num_pairs + self.num_scales + 8 * self.num_blends

    @property
    def num_own(self) -> int:
        """Number of a sample's own numbers."""
        return 2 * self.num_own_pairs + 8 * self.num_own_blends + self.num_own_terms

    def memory(self, batch: int) -> int:
        """Numbers kept for the way back; see `Values` in the kernels."""
        shared = self.num_scalings + 5 * self.num_runs + self.num_features + 2 * self.shared_gates
        return shared + (2 * self.own_gates + self.num_row - self.num_columns) * batch


@dataclass(frozen=True, eq=False)
class CoefficientsOnDevice:
    """Coefficients in the device's memory; `devices.Coefficients` are those of the host.

    Attributes:
        recipe: Where they come from.
        sizes: How many there are.
        numbers: The numbers; see `Values` in the kernels.
    """

    recipe: LoadedRecipe
    sizes: Sizes
    numbers: Buffer


@dataclass(frozen=True, eq=False)
class BoundOnDevice:
    """Coefficients, and what the way back needs. See `devices.DeviceWithMemory.bind`."""

    recipes: Recipes
    coefficients: CoefficientsOnDevice
    base: Buffer
    rows: Buffer | None
    memory: Buffer

    def pull(self, overlaps: Any, *, per_sample: bool) -> tuple[Any, Any]:
        """See `devices.BoundOnDevice.pull`."""
        return self.recipes.pull(self, overlaps, per_sample=per_sample)


class Recipes:
    """Runs recipes.

    Args:
        launcher: Launches the kernels.
    """

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._runtime = launcher.runtime

    def bind(self, recipe: LoadedRecipe, base: Buffer, rows: Buffer | None, batch: int) -> BoundOnDevice:
        """Coefficients from values: the parameters (P,), and the varying ones (B, V), flat, if there are any."""
        numbers = self._room(recipe.num_shared + recipe.num_own * batch)
        memory = self._room(recipe.memory(batch))
        f, values = recipe.features, [recipe.record, long_integer(batch), base, rows]
        if f is not None:
            count = f.num_shared + (f.num_members - f.num_shared) * batch
            self._features(EVALUATE_FEATURES, f, count, [*values, memory], [])
        shared = recipe.num_runs + recipe.num_blends
        own = recipe.num_own_blends + recipe.num_own_pairs + recipe.num_own_terms
        self._launcher.threads(BIND_VALUES, shared + own * batch, [*values, numbers, memory])
        count = recipe.num_stretches + recipe.num_plain + recipe.num_terms
        self._launcher.threads(BIND_SHARED, count, [*values, numbers, memory])
        coefficients = CoefficientsOnDevice(recipe, recipe.sizes(batch), numbers)
        return BoundOnDevice(self, coefficients, base, rows, memory)

    def pack(self, loaded: LoadedTape, coefficients: CoefficientsOnDevice, workspace: Workspace) -> Buffer:
        """Write the numbers of a tape where its sweeps read them; returns the shared diagonal angles."""
        recipe = coefficients.recipe
        if workspace.pieces is None or workspace.pieces[0] is not recipe:
            pieces = loaded.compiled.numbers.pieces(coefficients.sizes)
            workspace.pieces = recipe, self._launcher.upload(pieces), len(pieces)
        _, pieces, count = workspace.pieces
        numbers = workspace.bound.numbers
        if count:
            arguments = [
                coefficients.numbers,
                recipe.dense,
                pieces,
                integer(count),
                long_integer(len(numbers)),
                numbers,
            ]
            self._launcher.each("pack_numbers", len(numbers), arguments)
        return coefficients.numbers

    def pull(self, bound: BoundOnDevice, overlaps: Any, *, per_sample: bool) -> tuple[Any, Any]:
        """Gradients from overlaps, see `BoundOnDevice.pull`."""
        recipe, batch = bound.coefficients.recipe, bound.coefficients.sizes.batch
        by_sample, rows = overlaps.ndim == 2, batch if per_sample else 1
        own = overlaps.ravel() if by_sample else None
        shared = self._column_sums(overlaps) if by_sample and not per_sample else overlaps.ravel()
        width = recipe.num_base + recipe.num_row - recipe.num_columns if per_sample else recipe.num_base
        results = _Gradients(self._room(width * rows), width, rows, per_sample)
        if by_sample and not per_sample:
            results.own = self._room(recipe.num_row * batch)
        gates = self._items(recipe.shared_gates, recipe.own_gates, results, batch if by_sample else 0)
        arguments = [recipe.record, long_integer(batch), bound.coefficients.numbers, bound.memory, shared]
        arguments += [long_integer(rows), own, gates.shared, gates.own]
        count = (recipe.num_runs + recipe.num_blends) * rows + (recipe.num_own_blends * batch if by_sample else 0)
        self._launcher.threads(PULL_RUNS, count, arguments)
        self._gather(bound, recipe.gradients, (shared, own, recipe.num_overlaps), gates, results, onto=False)
        if recipe.features is not None:
            slots = self._pull_features(bound, recipe.features, results)
            self._gather(bound, recipe.features.gradients, (shared, own, 0), slots, results, onto=True)
        parameters = _table(results.base, rows, width)[:, : recipe.num_parameters]
        if per_sample:
            return parameters, None
        columns = results.own if results.own is None else _table(results.own, batch, recipe.num_row)
        return parameters[0], columns if columns is None else columns[:, : recipe.num_columns]

    def _pull_features(self, bound: BoundOnDevice, f: LoadedFeatures, results: _Gradients) -> _Items:
        """The derivatives for the variables of the features."""
        recipe, batch = bound.coefficients.recipe, bound.coefficients.sizes.batch
        rows, width = results.rows, results.width
        own, own_width = (results.base[recipe.num_base :], width) if results.per_sample else (None, 0)
        if results.own is not None:
            own, own_width = results.own[recipe.num_columns :], recipe.num_row
        slots = self._items(f.shared_slots, f.own_slots, results, batch if own is not None else 0)
        count = f.num_shared * rows + (0 if own is None else (f.num_members - f.num_shared) * batch)
        values = [recipe.record, long_integer(batch), bound.base, bound.rows, bound.memory]
        outer = [
            integer(f.shared_slots),
            results.base[recipe.num_parameters :],
            long_integer(rows),
            long_integer(width),
        ]
        outer += [own, long_integer(own_width), slots.shared, slots.own]
        self._features(PULL_FEATURES, f, count, values, outer)
        return slots

    def _features(
        self, kernel: str, f: LoadedFeatures, count: int, values: list[Argument], outer: list[Argument]
    ) -> None:
        """Launch one of the kernels of features, with room for their steps."""
        blocks = max(1, -(-min(count, FEATURE_THREADS) // THREADS))
        room = self._room(2 * f.most_nodes * blocks * THREADS)
        arguments = [*values, *f.arrays, integer(f.most_nodes), integer(f.num_members), room, *outer]
        self._runtime.launch(kernel, (blocks, 1), THREADS, 0, arguments)

    def _gather(
        self,
        bound: BoundOnDevice,
        gradients: tuple[LoadedGathering, ...],
        overlaps: tuple[Buffer, Buffer | None, int],
        items: _Items,
        results: _Gradients,
        *,
        onto: bool,
    ) -> None:
        """Add up what makes the gradients: overlaps (shared, by sample, their number), and other items."""
        (base, rows, each), (shared, own, count) = gradients, overlaps
        if results.per_sample:
            return self._sum(bound, each, (shared, count), items.shared, items.batch, results.base, results.width, onto)
        if results.own is not None and items.num_own:
            partials = Partials(items.own, items.num_own, items.batch, items.batch)
            sums = items.shared[items.num_shared :]
            self._launcher.add(partials, self._launcher.constant(range(items.num_own)), 0, sums, real=False, onto=False)
        self._sum(bound, base, (shared, count), items.shared, 1, results.base, results.width, onto)
        if results.own is not None:
            assert own is not None
            width = bound.coefficients.recipe.num_row
            self._sum(bound, rows, (own, count), items.own, items.batch, results.own, width, onto)
        return None

    def _sum(
        self,
        bound: BoundOnDevice,
        gathering: LoadedGathering,
        overlaps: tuple[Buffer, int],
        others: Buffer,
        samples: int,
        results: Buffer,
        width: int,
        onto: bool,
    ) -> None:
        g = gathering
        arguments = [bound.coefficients.recipe.record, bound.memory, overlaps[0], integer(overlaps[1]), others]
        arguments += [g.start, g.items, g.weights, integer(g.targets), long_integer(samples), integer(g.team)]
        arguments += [integer(width), integer(onto), results]
        self._launcher.threads(PULL_VALUES, g.targets * samples * g.team, arguments)

    def _column_sums(self, overlaps: Any) -> Buffer:
        rows, columns = overlaps.shape
        sums = self._room(columns)
        arguments = [overlaps.ravel(), long_integer(rows), integer(columns), sums]
        if columns:
            self._runtime.launch(ADD_COLUMNS, (-(-columns // 32), 1), THREADS, 8 * THREADS, arguments)
        return sums

    def _items(self, shared: int, own: int, results: _Gradients, batch: int) -> _Items:
        # for the gradients of the whole batch the sums of own items follow the shared ones
        before = shared * results.rows + (0 if results.per_sample else own)
        buffer = self._room(before + own * batch)
        return _Items(buffer, buffer[before:], shared, own, batch)

    def _room(self, count: int) -> Buffer:
        return self._runtime.empty(max(count, 1), np.float64)


@dataclass
class _Gradients:
    """Results: of what samples share [row][target], and of their own [sample][target] where that is apart."""

    base: Buffer
    width: int
    rows: int
    per_sample: bool
    own: Buffer | None = None


@dataclass(frozen=True)
class _Items:
    """Numbers that are added up: [shared][row], the own ones' sums if there is one row, and own [item][sample]."""

    shared: Buffer
    own: Buffer
    num_shared: int
    num_own: int
    batch: int


def _table(buffer: Buffer, rows: int, columns: int) -> Any:
    return buffer[: rows * columns].reshape(rows, columns)
