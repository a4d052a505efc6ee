"""Runs a circuit with its measurements on rows of numbers: results, pullbacks and Jacobians."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...devices import Device
from ...engine.forward_cache import Recall, Shelf
from ...engine.parameters import ParameterBatch, ParameterSet
from ...engine.states import DifferentiableStates
from ...ir.measurement import Measurement
from .circuits import Circuit
from .measurements import (
    Complexes,
    FinalState,
    FromSums,
    Measured,
)
from .rows import Rows

Floats = NDArray[np.float64]


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

    def __init__(self, circuit: Circuit, measured: Measured, rows: Rows, options: EngineOptions) -> None:
        inputs, trained, has_states = rows.key
        order = [*inputs, *(k for k in range(len(circuit.columns)) if k not in set(inputs))]
        self.place = {column: index for index, column in enumerate(order)}
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
        self._training = ParameterSet(np.array(sorted(self.place[column] for column in trained), dtype=np.intp))
        self._given = threading.local()
        self._measuring = threading.Lock()

    @contextmanager
    def starting_from(self, states: Complexes | None) -> Iterator[None]:
        """Calls of this thread start from the rows of ``states``."""
        before = getattr(self._given, "states", None)
        self._given.states = states
        try:
            yield
        finally:
            self._given.states = before

    def start_cotangents(
        self, x: Floats | None, w: Floats, of_sums: Floats | None, of_amplitudes: Complexes | None
    ) -> Complexes:
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

    def outcomes(self, x: Floats | None, w: Floats, measurement: Measurement) -> Floats:
        """`probabilities` of a measurement that the engine was not made with."""
        with self._measuring:
            self.measurement = measurement
            return self.probabilities(x, w)

    def _initial_state(self, rows: ParameterBatch) -> NDArray[np.complex128] | None:
        states: NDArray[np.complex128] | None = getattr(self._given, "states", None)
        if states is None:
            return super()._initial_state(rows)
        return states[0] if len(states) == 1 else states[rows.first : rows.first + rows.batch]


class Gradients(NamedTuple):
    """Gradients of a function of the results.

    Attributes:
        inputs: (R, n_in), or None.
        weights: Of the weights' shape.
        states: (R, 2**n) g with ``dL = Re sum conj(g) d states``, or None.
    """

    inputs: Floats | None
    weights: Floats
    states: Complexes | None = None


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

    def engine(self, rows: Rows) -> Engine:
        """The engine for numbers of this pattern."""
        with self._lock:
            if rows.key not in self._engines:
                self._engines[rows.key] = Engine(self.circuit, self.measured, rows, self._options)
            return self._engines[rows.key]

    def results(self, rows: Rows) -> list[Any]:
        """Every measurement's result, (R, ...) each."""
        engine = self.engine(rows)
        with engine.starting_from(rows.states):
            values = engine.values(rows.inputs, rows.weights) if self.measured.sums else None
            reads = self.measured.reads_amplitudes
            amplitudes = engine.statevector(rows.inputs, rows.weights) if reads else None
        return self.measured.results(_doubles(values), amplitudes)

    def probabilities(self, rows: Rows, wires: Sequence[Any]) -> Floats:
        """Probabilities (R, 2**k) of the outcomes of k wires, the first one the highest bit."""
        engine, last = self.engine(rows), len(wires) - 1
        pairs = tuple((self.circuit.qubit[wire], last - k) for k, wire in enumerate(wires))
        with engine.starting_from(rows.states):
            return engine.outcomes(rows.inputs, rows.weights, Measurement(pairs, len(wires)))

    def vjp(self, rows: Rows) -> tuple[list[Any], Pullback]:
        """Results, and a function from their cotangents to gradients; it may be called once."""
        engine = self.engine(rows)
        values: Any = None
        amplitudes = pull_values = pull_amplitudes = None
        with engine.starting_from(rows.states):
            if self.measured.sums:
                values, pull_values = engine.vjp(rows.inputs, rows.weights)
                values = _doubles(values)
            if self.measured.reads_amplitudes:
                amplitudes, pull_amplitudes = engine.state_vjp(rows.inputs, rows.weights)

        def pullback(cotangents: Sequence[Any]) -> Gradients:
            of_sums, of_amplitudes = self.measured.pull(cotangents, values, amplitudes)
            dx: Any = None
            dw: Any = 0.0
            states = None
            with engine.starting_from(rows.states):
                pulls: Any = ((pull_values, of_sums), (pull_amplitudes, of_amplitudes))
                for pull, own in pulls:
                    if pull is not None:
                        of_inputs, of_weights = pull(own)
                        dw = dw + of_weights
                        dx = of_inputs if dx is None else dx + of_inputs
                if rows.trains_states:
                    states = engine.start_cotangents(rows.inputs, rows.weights, of_sums, of_amplitudes)
            return Gradients(dx, dw, states)

        return self.measured.results(values, amplitudes), pullback

    def jacobian(self, rows: Rows) -> list[Any]:
        """Derivatives (R, ..., P) of every measurement with respect to all columns; 0 for those not trained."""
        engine, measured = self.engine(rows), self.measured
        trained = list(rows.key[1])
        places = [engine.place[column] for column in trained]
        values = of_sums = None
        with engine.starting_from(rows.states):
            if measured.sums:
                values = _doubles(engine.values(rows.inputs, rows.weights))
                of_sums = engine.jacobian(rows.inputs, rows.weights, wrt=places)
            parts = [
                part.jacobian(of_sums, values)
                if isinstance(part, FromSums)
                else self._slopes(engine, rows, part, places)
                for part in measured.parts
            ]
        result = []
        for part in parts:
            full = np.zeros((*part.shape[:-1], len(self.circuit.columns)), dtype=part.dtype)
            full[..., trained] = part
            result.append(full)
        return result

    def _slopes(self, engine: Engine, rows: Rows, part: Any, places: list[int]) -> Any:
        """Derivatives (R, ..., n) of a measurement that is read off the amplitudes: a sweep for each of its numbers."""
        size = int(np.prod(part.shape))
        is_complex = isinstance(part, FinalState)
        factors = (1.0, -1j) if is_complex else (1.0,)  # Re(-1j z) = Im z

        def bras(ket: Any, frame: Any, _batch: int) -> Iterator[Complexes]:
            amplitudes = engine.device.amplitudes(ket, frame)
            for factor in factors:
                for k in range(size):
                    unit = np.zeros((len(amplitudes), size), dtype=np.complex128 if is_complex else np.float64)
                    unit[:, k] = factor
                    yield 0.5 * part.pull(unit.reshape(-1, *part.shape), amplitudes)

        found = engine.pull_bras(rows.inputs, rows.weights, places, bras, size * len(factors))
        if is_complex:
            found = found[:, :size] + 1j * found[:, size:]
        return found.reshape(len(found), *part.shape, len(places))


def _doubles(values: Any) -> Any:
    return None if values is None else np.asarray(values, dtype=np.float64)
