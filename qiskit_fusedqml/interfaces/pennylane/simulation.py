"""Runs a circuit with its measurements on batches of samples: results, pullbacks and Jacobians."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ...arrays import ComplexArray, FloatArray
from ...devices import Device
from ...engine.forward_cache import Recall, Shelf
from ...engine.parameters import ParameterBatch, ParameterSet
from ...engine.states import DifferentiableStates
from ...ir.measurement import Measurement
from .circuits import Circuit
from .gradients import Gradients
from .measurements import FinalState, Measured, SumMoment
from .samples import SampleBatch


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What the engine is made with.

    Attributes:
        device: The device.
        precision: "double" or "single".
        max_memory_mb: Memory for states in MiB, or None.
    """

    device: Device
    precision: str
    max_memory_mb: float | None


class Engine(DifferentiableStates):
    """The engine for one pattern of inputs and trained columns, from states that may be given from outside."""

    def __init__(self, circuit: Circuit, measured: Measured, batch: SampleBatch, options: EngineOptions) -> None:
        inputs, trained, has_states = batch.key
        order = [*inputs, *(k for k in range(circuit.num_columns) if k not in set(inputs))]
        self.order = np.array(order, dtype=np.intp)
        super().__init__(
            circuit.program,
            circuit.angle_map(order),
            measured.sums,
            num_inputs=len(inputs),
            input_gradients=any(column in trained for column in inputs),
            device=options.device,
            precision=options.precision,
            max_memory_mb=options.max_memory_mb,
            any_start=has_states,
        )
        if has_states:  # equal parameters do not mean equal final states
            self._recall = Recall(Shelf(0))
        self.trained = np.flatnonzero(np.isin(self.order, trained))
        self._training = ParameterSet(self.trained)
        self._given = threading.local()
        self._measuring = threading.Lock()

    @contextmanager
    def starting_from(self, states: ComplexArray | None) -> Iterator[None]:
        """Calls of this thread start from the rows of ``states``."""
        before = getattr(self._given, "states", None)
        self._given.states = states
        try:
            yield
        finally:
            self._given.states = before

    def start_cotangents(
        self, x: FloatArray | None, w: FloatArray, of_sums: FloatArray | None, of_amplitudes: ComplexArray | None
    ) -> ComplexArray:
        """From cotangents of the observables (R, n_obs) and of the final amplitudes to those of the first ones.

        Both are g with ``dL = Re sum conj(g) d amplitudes``: what is linear goes back as the program undone.
        """
        parameters = self._parameters(x, w)
        binding = self.plans.binding(parameters.varying, self._nothing, parameters.batch, keep_phase=True)
        _, ket = self._forward(binding, parameters)
        frame, bra = binding.plan.tape.frame, of_amplitudes
        if of_sums is not None:
            image = self.device.apply_observables(ket, frame, self._observables(), of_sums)
            own = 2.0 * self.device.amplitudes(image, frame)
            bra = own if bra is None else own + bra
        assert bra is not None
        return self._inverse.evolve(parameters, bra)

    def outcomes(self, x: FloatArray | None, w: FloatArray, measurement: Measurement) -> FloatArray:
        """`probabilities` of a measurement that the engine was not made with."""
        with self._measuring:
            self.measurement = measurement
            return self.probabilities(x, w)

    @override
    def _initial_state(self, rows: ParameterBatch) -> NDArray[np.complex128] | None:
        states: NDArray[np.complex128] | None = getattr(self._given, "states", None)
        if states is None:
            return super()._initial_state(rows)
        return states[0] if len(states) == 1 else states[rows.first : rows.first + rows.batch]


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
                self._engines[batch.key] = Engine(self.circuit, self.measured, batch, self._options)
            return self._engines[batch.key]

    def results(self, batch: SampleBatch) -> list[Any]:
        """Every measurement's result, (R, ...) each."""
        engine = self.engine(batch)
        with engine.starting_from(batch.states):
            values = engine.values(batch.inputs, batch.weights) if self.measured.sums else None
            reads = self.measured.reads_amplitudes
            amplitudes = engine.statevector(batch.inputs, batch.weights) if reads else None
        return self.measured.results(_doubles(values), amplitudes)

    def probabilities(self, batch: SampleBatch, wires: Sequence[Any]) -> FloatArray:
        """Probabilities (R, 2**k) of the outcomes of k wires, the first one the highest bit."""
        engine, last = self.engine(batch), len(wires) - 1
        pairs = tuple((self.circuit.qubit[wire], last - k) for k, wire in enumerate(wires))
        with engine.starting_from(batch.states):
            return engine.outcomes(batch.inputs, batch.weights, Measurement(pairs, len(wires)))

    def vjp(self, batch: SampleBatch) -> tuple[list[Any], Pullback]:
        """Results, and a function from their cotangents to gradients; it may be called once."""
        engine = self.engine(batch)
        values: Any = None
        amplitudes = pull_values = pull_amplitudes = None
        with engine.starting_from(batch.states):
            if self.measured.sums:
                values, pull_values = engine.vjp(batch.inputs, batch.weights)
                values = _doubles(values)
            if self.measured.reads_amplitudes:
                amplitudes, pull_amplitudes = engine.state_vjp(batch.inputs, batch.weights)

        def pullback(cotangents: Sequence[Any]) -> Gradients:
            of_sums, of_amplitudes = self.measured.pull(cotangents, values, amplitudes)
            dx: Any = 0.0
            dw: Any = 0.0
            states = None
            with engine.starting_from(batch.states):
                pulls: Any = ((pull_values, of_sums), (pull_amplitudes, of_amplitudes))
                for pull, own in pulls:
                    if pull is not None:
                        inputs, weights = pull(own)
                        dx, dw = dx if inputs is None else dx + inputs, dw + weights
                if batch.trains_states:
                    states = engine.start_cotangents(batch.inputs, batch.weights, of_sums, of_amplitudes)
            return self._by_column(batch, engine, dx, dw, states)

        return self.measured.results(values, amplitudes), pullback

    def jacobian(self, batch: SampleBatch) -> list[Any]:
        """Derivatives (R, ..., n_columns) of every measurement; 0 for columns that are not trained."""
        engine = self.engine(batch)
        columns = engine.order[engine.trained]
        values = of_sums = None
        result = []
        with engine.starting_from(batch.states):
            if self.measured.sums:
                values = _doubles(engine.values(batch.inputs, batch.weights))
                of_sums = engine.jacobian(batch.inputs, batch.weights, wrt=engine.trained.tolist())
            for part in self.measured.parts:
                own = part.jacobian(of_sums, values) if isinstance(part, SumMoment) else self._slopes(batch, part)
                full = np.zeros((*own.shape[:-1], self.circuit.num_columns), dtype=own.dtype)
                full[..., columns] = own
                result.append(full)
        return result

    def _by_column(self, batch: SampleBatch, engine: Engine, dx: Any, dw: Any, states: Any) -> Gradients:
        if batch.weights.ndim == 2:
            return Gradients(None, dw, states)
        inputs, weights = engine.order[: engine.num_inputs], engine.order[engine.num_inputs :]
        shared = np.zeros(self.circuit.num_columns)
        shared[weights] = dw
        if not engine.input_gradients:
            return Gradients(shared, None, states)
        per_sample = np.zeros((len(dx), self.circuit.num_columns))
        per_sample[:, inputs] = dx
        return Gradients(shared, per_sample, states)

    def _slopes(self, batch: SampleBatch, part: Any) -> Any:
        """Derivatives (R, ..., n) of a measurement that is read off the amplitudes: a sweep for each of its numbers."""
        engine = self.engine(batch)
        size = int(np.prod(part.shape))
        is_complex = isinstance(part, FinalState)
        factors = (1.0, -1j) if is_complex else (1.0,)  # Re(-1j z) = Im z

        def bras(ket: Any, frame: Any, _batch: int) -> Iterator[ComplexArray]:
            amplitudes = engine.device.amplitudes(ket, frame)
            for factor in factors:
                for k in range(size):
                    unit = np.zeros((len(amplitudes), size), dtype=np.complex128 if is_complex else np.float64)
                    unit[:, k] = factor
                    yield 0.5 * part.pull(unit.reshape(-1, *part.shape), amplitudes)

        wanted = engine.trained.tolist()
        found = engine.pull_bras(batch.inputs, batch.weights, wanted, bras, size * len(factors))
        if is_complex:
            found = found[:, :size] + 1j * found[:, size:]
        return found.reshape(len(found), *part.shape, len(wanted))


def _doubles(values: Any) -> Any:
    return None if values is None else np.asarray(values, dtype=np.float64)
