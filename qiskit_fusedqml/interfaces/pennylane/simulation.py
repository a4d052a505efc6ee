"""Runs a circuit with its measurements on batches of samples: results, pullbacks and Jacobians."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...arrays import ComplexArray, FloatArray, IntArray
from ...engine.options import EngineOptions
from ...engine.program_function import ProgramFunction
from ...engine.state_gradients import initial_state_cotangents, pull_bras, state_vjp
from ...ir.measurement import Measurement
from .circuits import Circuit
from .gradients import Gradients
from .measurements import FinalState, Measured, SumMoment
from .samples import SampleBatch


class Engine(NamedTuple):
    """The engine for one pattern of inputs and trained columns.

    Attributes:
        function: The circuit; its parameters are columns in another order, those that are inputs first.
        order: The column of each parameter.
        trained: The parameters that are trained, ascending.
    """

    function: ProgramFunction
    order: IntArray
    trained: IntArray


Pullback = Callable[[Sequence[Any]], Gradients]


class Simulation:
    """A circuit with its measurements, ready to run.

    Args:
        circuit: The circuit.
        measurements: What is measured.
        options: How the engine is made.

    Attributes:
        circuit: The circuit.
        measured: The measurements.
    """

    def __init__(self, circuit: Circuit, measurements: Sequence[Any], options: EngineOptions) -> None:
        self.circuit = circuit
        self.measured = Measured(measurements, circuit.wires, circuit.qubit)
        self._options = options
        self._engines: dict[Any, Engine] = {}
        self._lock = threading.Lock()

    def engine(self, batch: SampleBatch) -> Engine:
        """The engine for numbers of this pattern."""
        with self._lock:
            if batch.key not in self._engines:
                self._engines[batch.key] = self._engine(*batch.key[:2])
            return self._engines[batch.key]

    def _engine(self, inputs: Sequence[int], columns: Sequence[int]) -> Engine:
        order = np.array([*inputs, *(k for k in range(self.circuit.num_columns) if k not in set(inputs))], np.intp)
        trained = np.flatnonzero(np.isin(order, columns))
        function = ProgramFunction(
            self.circuit.program,
            self.circuit.angle_map(order.tolist()),
            self.measured.sums,
            self._options,
            num_inputs=len(inputs),
            input_gradients=any(column in columns for column in inputs),
            trained=trained.tolist(),
        )
        return Engine(function, order, trained)

    def results(self, batch: SampleBatch) -> list[Any]:
        """Every measurement's result, (R, ...) each."""
        f, given, start = self.engine(batch).function, (batch.inputs, batch.weights), batch.states
        values = f.values(*given, initial_states=start) if self.measured.sums else None
        amplitudes = f.statevector(*given, initial_states=start) if self.measured.reads_amplitudes else None
        return self.measured.results(_doubles(values), amplitudes)

    def probabilities(self, batch: SampleBatch, wires: Sequence[Any]) -> FloatArray:
        """Probabilities (R, 2**k) of the outcomes of k wires, the first one the highest bit."""
        f, last = self.engine(batch).function, len(wires) - 1
        pairs = tuple((self.circuit.qubit[wire], last - k) for k, wire in enumerate(wires))
        measurement = Measurement(pairs, len(wires))
        return f.probabilities(batch.inputs, batch.weights, measurement=measurement, initial_states=batch.states)

    def vjp(self, batch: SampleBatch) -> tuple[list[Any], Pullback]:
        """Results, and a function from their cotangents to gradients; it may be called once."""
        engine, given, start = self.engine(batch), (batch.inputs, batch.weights), batch.states
        values: Any = None
        amplitudes = pull_values = pull_amplitudes = None
        if self.measured.sums:
            values, pull_values = engine.function.vjp(*given, initial_states=start)
            values = _doubles(values)
        if self.measured.reads_amplitudes:
            amplitudes, pull_amplitudes = state_vjp(engine.function, *given, start)

        def pullback(cotangents: Sequence[Any]) -> Gradients:
            of_sums, of_amplitudes = self.measured.pull(cotangents, values, amplitudes)
            dx: Any = 0.0
            dw: Any = 0.0
            states = None
            pulls: Any = ((pull_values, of_sums), (pull_amplitudes, of_amplitudes))
            for pull, own in pulls:
                if pull is not None:
                    inputs, weights = pull(own)
                    dx, dw = dx if inputs is None else dx + inputs, dw + weights
            if batch.trains_states:
                states = initial_state_cotangents(engine.function, *given, start, of_sums, of_amplitudes)
            return self._by_column(batch, engine, dx, dw, states)

        return self.measured.results(values, amplitudes), pullback

    def jacobian(self, batch: SampleBatch) -> list[Any]:
        """Derivatives (R, ..., n_columns) of every measurement; 0 for columns that are not trained."""
        f, order, trained = self.engine(batch)
        values = of_sums = None
        result = []
        if self.measured.sums:
            values = _doubles(f.values(batch.inputs, batch.weights, initial_states=batch.states))
            of_sums = f.jacobian(batch.inputs, batch.weights, trained.tolist(), initial_states=batch.states)
        for part in self.measured.parts:
            own = part.jacobian(of_sums, values) if isinstance(part, SumMoment) else self._slopes(batch, part)
            full = np.zeros((*own.shape[:-1], self.circuit.num_columns), dtype=own.dtype)
            full[..., order[trained]] = own
            result.append(full)
        return result

    def _by_column(self, batch: SampleBatch, engine: Engine, dx: Any, dw: Any, states: Any) -> Gradients:
        if batch.weights.ndim == 2:
            return Gradients(None, dw, states)
        f = engine.function
        inputs, weights = engine.order[: f.num_inputs], engine.order[f.num_inputs :]
        shared = np.zeros(self.circuit.num_columns)
        shared[weights] = dw
        if not f.input_gradients:
            return Gradients(shared, None, states)
        per_sample = np.zeros((len(dx), self.circuit.num_columns))
        per_sample[:, inputs] = dx
        return Gradients(shared, per_sample, states)

    def _slopes(self, batch: SampleBatch, part: Any) -> Any:
        """Derivatives (R, ..., n) of a measurement that is read off the amplitudes: a sweep for each of its numbers."""
        f, _, trained = self.engine(batch)
        size = int(np.prod(part.shape))
        is_complex = isinstance(part, FinalState)
        factors = (1.0, -1j) if is_complex else (1.0,)  # Re(-1j z) = Im z

        def bras(amplitudes: ComplexArray) -> Iterator[ComplexArray]:
            for factor in factors:
                for k in range(size):
                    unit = np.zeros((len(amplitudes), size), dtype=np.complex128 if is_complex else np.float64)
                    unit[:, k] = factor
                    yield 0.5 * part.pull(unit.reshape(-1, *part.shape), amplitudes)

        given = (batch.inputs, batch.weights, trained.tolist())
        found = pull_bras(f, *given, bras, size * len(factors), batch.states)
        if is_complex:
            found = found[:, :size] + 1j * found[:, size:]
        return found.reshape(len(found), *part.shape, len(trained))


def _doubles(values: Any) -> Any:
    return None if values is None else np.asarray(values, dtype=np.float64)
