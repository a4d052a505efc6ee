"""Networks: qiskit-machine-learning's, with the engine inside instead of a primitive and a gradient.

`FusedEstimatorQNN` and `FusedSamplerQNN` are the stock classes with the same constructor, the same properties and the
same shapes. Where values are exact anyway, forward and backward go straight to the engine, in one batch, and a backward
pass at the values of the last forward pass begins with its final states (`qiskit_fusedqml.engine.forward_cache`); a
primitive with shots or noise, or somebody else's gradient, is used as the stock class would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2
from qiskit.quantum_info.operators.base_operator import BaseOperator
from qiskit.transpiler.passmanager import BasePassManager
from qiskit_machine_learning.exceptions import QiskitMachineLearningError
from qiskit_machine_learning.gradients import BaseEstimatorGradient, BaseSamplerGradient, DerivativeType
from qiskit_machine_learning.neural_networks import EstimatorQNN, SamplerQNN
from qiskit_machine_learning.primitives import QMLEstimator, QMLSampler

from ...arrays import FloatArray
from ...engine.options import EngineOptions
from ...errors import InvalidInputError
from ..qiskit.circuit import DifferentiableCircuit
from ..qiskit.primitives import FusedEstimator
from .estimator_gradient import FusedEstimatorGradient
from .sampler_gradient import FusedSamplerGradient

DENSE_BYTES = 2**26
"""Sparse results are collected from dense pieces of this size."""


class NetworkInputError(InvalidInputError, QiskitMachineLearningError):
    """Data or weights that a network cannot take; also an error of Qiskit Machine Learning's own."""


@contextmanager
def _network_errors() -> Iterator[None]:
    """The engine's complaints about data as the network's."""
    try:
        yield
    except InvalidInputError as error:
        raise NetworkInputError(error.message) from error


class _Network:
    """What both networks share: the engine, made when it is first needed, and left out of copies and pickles.

    Attributes:
        engine_options: The options handed to the engine.
    """

    engine_options: EngineOptions
    _circuit: QuantumCircuit
    _num_inputs: int
    _num_weights: int
    _input_gradients: bool
    _engine: DifferentiableCircuit | None = None

    @property
    def differentiable(self) -> DifferentiableCircuit:
        """The engine behind the network; its inputs and weights are the network's."""
        if self._engine is None:
            self._engine = self._build()
        return self._engine

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_engine"}

    def _build(self) -> DifferentiableCircuit:
        raise NotImplementedError

    def _made(self, observables: Any) -> DifferentiableCircuit:
        parameters = list(self._circuit.parameters)  # inputs come before weights
        return DifferentiableCircuit(
            self._circuit,
            observables,
            inputs=parameters[: self._num_inputs],
            weights=parameters[self._num_inputs :],
            **asdict(self.engine_options),
        )

    def _data(
        self, input_data: FloatArray | None, weights: FloatArray | None
    ) -> tuple[FloatArray | None, FloatArray, int]:
        """Inputs and weights for the engine, and how often its rows are repeated: samples without inputs are equal."""
        shared = np.zeros(0) if weights is None else weights
        if self._num_inputs:
            return input_data, shared, 1
        return None, shared, 1 if input_data is None else len(input_data)

    def _wrt(self) -> str | None:
        """Which derivatives a backward pass gives, None for none."""
        if self._input_gradients:
            return "all" if self._num_inputs + self._num_weights else None
        return "weights" if self._num_weights else None

    def _split(self, jacobian: Any) -> tuple[Any, Any]:
        """Derivatives with respect to inputs (or None) and weights from those of a backward pass."""
        if not self._input_gradients:
            return None, jacobian
        return jacobian[..., : self._num_inputs], jacobian[..., self._num_inputs :]


class FusedEstimatorQNN(_Network, EstimatorQNN):
    """``EstimatorQNN`` at the engine's speed: expectation values of a circuit, and their exact derivatives.

    Arguments are those of ``EstimatorQNN``, each of them optional but the circuit, and four for the engine. The
    estimator is asked only if its values are noisy (``FusedEstimator(default_precision=...)``, a backend's estimator,
    ...), and the gradient only if it is not of this package.

    Args:
        circuit, observables, input_params, weight_params, input_gradients, pass_manager: As of ``EstimatorQNN``.
        estimator: See above; by default exact values.
        gradient: See above.
        default_precision: Passed to an estimator with noise.
        device, precision, max_memory_mb, num_threads, checkpoint: As of `EngineOptions`.

    Example:
        >>> from qiskit.circuit.library import real_amplitudes, zz_feature_map
        >>> from qiskit_fusedqml import FusedEstimatorQNN
        >>> features, ansatz = zz_feature_map(2), real_amplitudes(2)
        >>> network = FusedEstimatorQNN(
        ...     circuit=features.compose(ansatz),
        ...     input_params=features.parameters,
        ...     weight_params=ansatz.parameters,
        ... )
        >>> network.forward([[0.1, 0.2], [0.3, 0.4]], [0.5] * 8).shape
        (2, 1)
    """

    def __init__(
        self,
        *,
        circuit: QuantumCircuit,
        estimator: BaseEstimatorV2 | None = None,
        observables: Sequence[BaseOperator] | BaseOperator | None = None,
        input_params: Sequence[Parameter] | None = None,
        weight_params: Sequence[Parameter] | None = None,
        gradient: BaseEstimatorGradient | None = None,
        input_gradients: bool = False,
        default_precision: float = 0.015625,
        pass_manager: BasePassManager | None = None,
        device: str = "CPU",
        precision: str = "double",
        max_memory_mb: float | None = None,
        num_threads: int | None = None,
        checkpoint: str | int | None = None,
    ) -> None:
        self.engine_options = EngineOptions(device, precision, max_memory_mb, num_threads, checkpoint)
        if estimator is None:
            estimator = FusedEstimator(
                device=device, precision=precision, max_memory_mb=max_memory_mb, num_threads=num_threads
            )
        if gradient is None:
            gradient = FusedEstimatorGradient(FusedEstimator(), pass_manager=pass_manager)
        super().__init__(
            circuit=circuit,
            estimator=estimator,
            observables=observables,
            input_params=input_params,
            weight_params=weight_params,
            gradient=gradient,
            input_gradients=input_gradients,
            default_precision=default_precision,
            pass_manager=pass_manager,
        )

    def _build(self) -> DifferentiableCircuit:
        return self._made(list(self._observables))

    def _forward(self, input_data: FloatArray | None, weights: FloatArray | None) -> FloatArray:
        if not _is_exact_estimator(self.estimator):
            return np.asarray(super()._forward(input_data, weights))
        x, w, repeats = self._data(input_data, weights)
        with _network_errors():
            values = self.differentiable.values(x, w)
        return np.repeat(values.astype(np.float64, copy=False), repeats, axis=0)

    def _backward(
        self, input_data: FloatArray | None, weights: FloatArray | None
    ) -> tuple[FloatArray | None, FloatArray | None]:
        if not _is_exact_gradient(self.gradient):
            before, after = super()._backward(input_data, weights)
            return before, after
        wrt = self._wrt()
        if wrt is None:
            return None, None
        x, w, repeats = self._data(input_data, weights)
        with _network_errors():
            jacobian = self.differentiable.jacobian(x, w, wrt)
        before, after = self._split(np.repeat(jacobian.astype(np.float64, copy=False), repeats, axis=0))
        return before, after


class FusedSamplerQNN(_Network, SamplerQNN):
    """``SamplerQNN`` at the engine's speed: exact probabilities of (interpreted) outcomes, and their derivatives.

    Arguments are those of ``SamplerQNN``, each of them optional but the circuit, and four for the engine.
    ``interpret`` is called once for every outcome, not once for every sample, outcome and weight. The Jacobian is
    computed in forward or reverse mode, whichever is cheaper. The sampler is asked only if it has shots, and the
    gradient only if it is not of this package.

    Args:
        circuit, input_params, weight_params, input_gradients, pass_manager: As of ``SamplerQNN``.
        sparse, interpret, output_shape: As of ``SamplerQNN``; without classical bits all qubits are measured.
        sampler: See above; by default exact probabilities.
        gradient: See above.
        device, precision, max_memory_mb, num_threads, checkpoint: As of `EngineOptions`.

    Example:
        >>> from qiskit.circuit.library import real_amplitudes, zz_feature_map
        >>> from qiskit_fusedqml import FusedSamplerQNN
        >>> features, ansatz = zz_feature_map(2), real_amplitudes(2)
        >>> network = FusedSamplerQNN(
        ...     circuit=features.compose(ansatz),
        ...     input_params=features.parameters,
        ...     weight_params=ansatz.parameters,
        ...     interpret=lambda outcome: outcome.bit_count() % 2,
        ...     output_shape=2,
        ... )
        >>> network.forward([[0.1, 0.2], [0.3, 0.4]], [0.5] * 8).sum(axis=1)
        array([1., 1.])
    """

    def __init__(
        self,
        *,
        circuit: QuantumCircuit,
        sampler: BaseSamplerV2 | None = None,
        input_params: Sequence[Parameter] | None = None,
        weight_params: Sequence[Parameter] | None = None,
        sparse: bool = False,
        interpret: Callable[[int], int | tuple[int, ...]] | None = None,
        output_shape: int | tuple[int, ...] | None = None,
        gradient: BaseSamplerGradient | None = None,
        input_gradients: bool = False,
        pass_manager: BasePassManager | None = None,
        device: str = "CPU",
        precision: str = "double",
        max_memory_mb: float | None = None,
        num_threads: int | None = None,
        checkpoint: str | int | None = None,
    ) -> None:
        self.engine_options = EngineOptions(device, precision, max_memory_mb, num_threads, checkpoint)
        if gradient is None:
            gradient = FusedSamplerGradient(sampler, pass_manager=pass_manager)
        super().__init__(
            circuit=circuit,
            sampler=sampler,
            input_params=input_params,
            weight_params=weight_params,
            sparse=sparse,
            interpret=interpret,
            output_shape=output_shape,
            gradient=gradient,
            input_gradients=input_gradients,
            pass_manager=pass_manager,
        )

    def set_interpret(
        self,
        interpret: Callable[[int], int | tuple[int, ...]] | None = None,
        output_shape: int | tuple[int, ...] | None = None,
    ) -> None:
        """Change ``interpret`` and with it ``output_shape``; see the class."""
        super().set_interpret(interpret, output_shape)
        self._interpret = interpret or _identity  # the stock class's lambda cannot be pickled
        self._groups: NDArray[np.intp] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_groups": None}

    def _build(self) -> DifferentiableCircuit:
        return self._made(None)

    def _forward(self, input_data: FloatArray | None, weights: FloatArray | None) -> Any:
        if not _is_exact_sampler(self.sampler):
            return super()._forward(input_data, weights)
        x, w, repeats = self._data(input_data, weights)
        size = int(np.prod(self._output_shape))
        with _network_errors():
            summed = self.differentiable.grouped_probabilities(x, w, self._table(), size)
        shaped = np.repeat(summed, repeats, axis=0).reshape(-1, *self._output_shape)
        return _sparse([shaped]) if self._sparse else shaped

    def _backward(self, input_data: FloatArray | None, weights: FloatArray | None) -> tuple[Any, Any]:
        if not isinstance(self.gradient, FusedSamplerGradient):
            return super()._backward(input_data, weights)  # type: ignore[no-any-return]
        wrt = self._wrt()
        if wrt is None:
            return None, None
        x, w, repeats = self._data(input_data, weights)
        with _network_errors():
            pieces = list(self._jacobians(x, w, wrt))
        joined = _sparse(pieces) if self._sparse else np.concatenate(pieces)
        if repeats > 1:
            joined = joined[np.zeros(repeats, np.intp)]
        return self._split(joined)

    def _jacobians(self, x: FloatArray | None, w: FloatArray, wrt: str) -> Any:
        """Derivatives (b, *output_shape, n), of all samples or, for a sparse result, of some at a time."""
        size, groups = int(np.prod(self._output_shape)), self._table()
        count = self._num_weights + (self._num_inputs if wrt == "all" else 0)
        batch = 1 if x is None else len(x)
        step = max(DENSE_BYTES // (8 * size * count), 1) if self._sparse else batch
        for start in range(0, batch, step):
            part = None if x is None else x[start : start + step]
            jacobian = self.differentiable.probability_jacobian(part, w, groups, size, wrt)
            jacobian = jacobian.reshape(-1, *self._output_shape, count)
            yield _coordinates(jacobian) if self._sparse else jacobian

    def _table(self) -> NDArray[np.intp]:
        """For each value of the classical bits the (flat) output it counts for, or -1."""
        if self._groups is None:
            outcomes, groups = self.differentiable.reachable_outcomes()
            logical = self._logical(outcomes)
            inside = logical < 2**self.num_virtual_qubits
            groups[outcomes] = -1
            groups[outcomes[inside]] = [self._output(value) for value in logical[inside].tolist()]
            self._groups = groups
        return self._groups

    def _logical(self, outcomes: NDArray[np.intp]) -> NDArray[np.intp]:
        """Outcomes in terms of the qubits before transpilation, where all qubits are measured after it."""
        layout = self._org_circuit.layout
        if layout is None or self._org_circuit.num_clbits:
            return outcomes
        logical = np.zeros_like(outcomes)
        for position, qubit in enumerate(layout.final_index_layout(filter_ancillas=True)):
            logical |= (outcomes >> qubit & 1) << position
        return logical

    def _output(self, value: int) -> int:
        key = self._interpret(value)
        index = tuple(int(part) for part in (key if isinstance(key, Sequence | np.ndarray) else (key,)))
        try:
            return int(np.ravel_multi_index(index, self._output_shape))
        except ValueError:
            raise NetworkInputError(
                f"interpret({value}) is {key}, which is no index of an output of shape {self._output_shape}."
            ) from None


def _identity(value: int) -> int:
    return value


def _is_exact_estimator(estimator: object) -> bool:
    if isinstance(estimator, FusedEstimator):
        return estimator.default_precision == 0.0
    return isinstance(estimator, QMLEstimator) and estimator.options.default_precision == 0.0


def _is_exact_gradient(gradient: object) -> bool:
    return isinstance(gradient, FusedEstimatorGradient) and gradient.derivative_type == DerivativeType.REAL


def _is_exact_sampler(sampler: object) -> bool:
    return isinstance(sampler, QMLSampler) and sampler.options.default_shots is None


def _coordinates(array: FloatArray) -> Any:
    from sparse import COO

    return COO.from_numpy(array)


def _sparse(pieces: list[Any]) -> Any:
    """Arrays of the package ``sparse`` in one."""
    import sparse

    return sparse.concatenate([piece if isinstance(piece, sparse.COO) else _coordinates(piece) for piece in pieces])
