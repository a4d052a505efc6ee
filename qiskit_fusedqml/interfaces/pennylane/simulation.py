"""Runs a circuit with its measurements on batches of samples: results, pullbacks and Jacobians."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...arrays import ComplexArray, FloatArray, IntArray
from ...engine.options import EngineOptions
from ...engine.program_function import ProgramFunction
from ...engine.state_gradients import Bras, initial_state_cotangents, pull_bras, state_vjp
from ...ir.measurement import Measurement
from ...memory import BoundedCache
from .gradients import Gradients
from .measurements import Measured
from .samples import Pattern, SampleBatch

Pullback = Callable[[Sequence[Any]], Gradients]

Arguments = Mapping[str, Any]
"""Arguments of the engine's functions: x, w and initial_states."""

MAX_ENGINES = 64
"""Engines of a circuit, each for another choice of the columns that are inputs."""


class _Engine(NamedTuple):
    """A circuit as a function of its columns in another order: those that are inputs come first.

    Attributes:
        function: The function.
        columns: The column of each of its parameters.
    """

    function: ProgramFunction
    columns: IntArray


class Simulation:
    """A circuit with its measurements, none if only samples are wanted, ready to run on wires in order.

    Attributes:
        circuit: The circuit.
        wires: All wires in order.
        measured: The measurements.
    """

    def __init__(
        self, operations: Sequence[Any], measurements: Sequence[Any], order: tuple[Any, ...], options: EngineOptions
    ) -> None:
        self.measured = self._measured(operations, measurements, order)
        self.circuit, self.wires = self.measured.circuit, order
        self._options = options
        self._engines: BoundedCache[Pattern, _Engine] = BoundedCache(MAX_ENGINES)

    def _measured(self, operations: Sequence[Any], measurements: Sequence[Any], order: tuple[Any, ...]) -> Measured:
        return Measured(operations, measurements, order)

    def _states(self, f: ProgramFunction, given: Arguments) -> ComplexArray:
        """What measurements that read no sums are read off: the final amplitudes (R, 2**n)."""
        return f.statevector(**given)

    def _states_vjp(self, f: ProgramFunction, given: Arguments) -> tuple[ComplexArray, Any]:
        """The same, and a pullback from g with ``dL = Re sum conj(g) d states``."""
        return state_vjp(f, **given)

    def _states_derivatives(
        self, f: ProgramFunction, given: Arguments, wanted: Sequence[int], cotangents: Bras, count: int
    ) -> FloatArray:
        """Derivatives (R, count, n) of functions of the states, by the g of each."""

        def bras(amplitudes: ComplexArray) -> Iterator[ComplexArray]:
            return (0.5 * own for own in cotangents(amplitudes))

        return pull_bras(f, **given, wrt=wanted, bras=bras, count=count)

    def _start_cotangents(
        self, f: ProgramFunction, given: Arguments, of_sums: FloatArray | None, of_states: ComplexArray | None
    ) -> ComplexArray:
        """Cotangents (R, 2**n) of the amplitudes that the circuit starts from."""
        return initial_state_cotangents(f, **given, cotangents=of_sums, bras=of_states)

    def _engine(self, pattern: Pattern) -> _Engine:
        return self._engines.get(pattern, lambda: self._made(pattern))

    def _made(self, pattern: Pattern) -> _Engine:
        order = [*pattern.batched, *(k for k in range(self.circuit.num_columns) if k not in set(pattern.batched))]
        columns = np.array(order, dtype=np.intp)
        function = ProgramFunction(
            self.circuit.program,
            self.circuit.angle_map(columns),
            self.measured.sums,
            self._options,
            num_inputs=len(pattern.batched),
            input_gradients=not set(pattern.batched).isdisjoint(pattern.trained),
            trained=np.flatnonzero(np.isin(columns, pattern.trained)).tolist(),
        )
        return _Engine(function, columns)

    def results(self, batch: SampleBatch) -> list[Any]:
        """Every measurement's result, (R, ...) each."""
        f, given = self._engine(batch.pattern).function, batch.arguments
        values = _doubles(f.values(**given)) if self.measured.sums else None
        return self.measured.results(values, self._states(f, given) if self.measured.reads_states else None)

    def probabilities(self, batch: SampleBatch, wires: Sequence[Any]) -> FloatArray:
        """Probabilities (R, 2**k) of the outcomes of k active wires, the first one the highest bit."""
        pairs = tuple((self.circuit.qubit[wire], len(wires) - 1 - k) for k, wire in enumerate(wires))
        f = self._engine(batch.pattern).function
        return f.probabilities(**batch.arguments, measurement=Measurement(pairs, len(wires)))

    def check_output(self, batch: SampleBatch, needed: int, what: str) -> None:
        """Refuse a result beyond the engine's memory limit, as of `MemoryBudget.check_output`."""
        self._engine(batch.pattern).function.memory.check_output(needed, what)

    def vjp(self, batch: SampleBatch) -> tuple[list[Any], Pullback]:
        """Results, and a function from their cotangents to gradients; it may be called once."""
        engine, given = self._engine(batch.pattern), batch.arguments
        values: Any = None
        states = pull_values = pull_states = None
        if self.measured.sums:
            values, pull_values = engine.function.vjp(**given)
            values = _doubles(values)
        if self.measured.reads_states:
            states, pull_states = self._states_vjp(engine.function, given)

        def pullback(cotangents: Sequence[Any]) -> Gradients:
            of_sums, of_states = self.measured.pull(cotangents, values, states)
            dx: Any = 0.0
            dw: Any = 0.0
            pulls: Any = ((pull_values, of_sums), (pull_states, of_states))
            for pull, own in pulls:
                if pull is not None:
                    inputs, weights = pull(own)
                    dx, dw = dx if inputs is None else dx + inputs, dw + weights
            of_start = None
            if batch.trains_states:
                of_start = self._start_cotangents(engine.function, given, of_sums, of_states)
            return self._by_column(engine, dx, dw, of_start)

        return self.measured.results(values, states), pullback

    def _by_column(self, engine: _Engine, dx: Any, dw: Any, states: ComplexArray | None) -> Gradients:
        f, columns = engine
        if np.ndim(dw) == 2:
            return Gradients(None, _doubles(dw), states)
        shared = np.zeros(len(columns))
        shared[columns[f.num_inputs :]] = dw
        if not f.input_gradients:
            return Gradients(shared, None, states)
        per_sample = np.zeros((len(dx), len(columns)))
        per_sample[:, columns[: f.num_inputs]] = dx
        return Gradients(shared, per_sample, states)

    def jacobian(self, batch: SampleBatch) -> list[Any]:
        """Derivatives (R, ..., n_columns) of every measurement; 0 for columns that are not trained."""
        (f, columns), given = self._engine(batch.pattern), batch.arguments
        wanted = f.trained.indices
        values = of_sums = None
        if self.measured.sums:
            values = _doubles(f.values(**given))
            of_sums = f.jacobian(**given, wrt=wanted.tolist())
        result = []
        for part in self.measured.parts:
            own = part.jacobian(of_sums, values) if part.reads_sums else self._slopes(f, given, part)
            full = np.zeros((*own.shape[:-1], len(columns)), dtype=np.result_type(own, np.float64))
            full[..., columns[wanted]] = own
            result.append(full)
        return result

    def _slopes(self, f: ProgramFunction, given: Arguments, part: Any) -> Any:
        """Derivatives (R, ..., n) of a measurement that is read off the states: a sweep for each of its numbers."""
        size, wanted = int(np.prod(part.shape)), f.trained.indices.tolist()
        factors = (1.0, -1j) if part.is_complex else (1.0,)  # Re(-1j z) = Im z

        def cotangents(states: ComplexArray) -> Iterator[ComplexArray]:
            for factor in factors:
                for k in range(size):
                    unit = np.zeros((len(states), size), dtype=np.complex128 if part.is_complex else np.float64)
                    unit[:, k] = factor
                    yield part.pull(unit.reshape(-1, *part.shape), states)

        found = self._states_derivatives(f, given, wanted, cotangents, size * len(factors))
        if part.is_complex:
            found = found[:, :size] + 1j * found[:, size:]
        return found.reshape(len(found), *part.shape, len(wanted))


def _doubles(values: Any) -> FloatArray:
    return np.asarray(values, dtype=np.float64)
