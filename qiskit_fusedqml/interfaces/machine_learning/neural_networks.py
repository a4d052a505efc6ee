"""Networks: qiskit-machine-learning's, with the engine inside instead of a primitive and a gradient.

`FusedEstimatorQNN` and `FusedSamplerQNN` are the stock classes with the same constructor, the same properties and the
same shapes. Where values are exact anyway, forward and backward go straight to the engine, in one batch, and a backward
pass at the values of the last forward pass begins with its final states (`qiskit_fusedqml.engine.forward_cache`); a
primitive with shots or noise, or another package's gradient, is used as the stock class would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from math import prod
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
from qiskit_machine_learning.neural_networks import EstimatorQNN, NeuralNetwork, SamplerQNN
from qiskit_machine_learning.primitives import QMLEstimator, QMLSampler

from ...arrays import FloatArray, real_array
from ...engine.options import EngineOptions
from ...errors import InvalidInputError
from ..qiskit.cache import check_circuit
from ..qiskit.circuit import DifferentiableCircuit, checked_parameters
from ..qiskit.compiled import check_bound
from ..qiskit.estimator import FusedEstimator
from ..qiskit.noise import engine_options
from ..qiskit.snapshot import refused_if_too_deep
from .entries import refuse_second_derivatives
from .gradients import FusedEstimatorGradient, FusedSamplerGradient
from .outcomes import OutcomeBits, read_outcome_bits

DENSE_BYTES = 2**26
"""Sparse results are collected from dense pieces of this size."""


class NetworkInputError(InvalidInputError, QiskitMachineLearningError):
    """Data or weights that a network cannot take; also an error of Qiskit Machine Learning's own."""


class _Network(NeuralNetwork):
    """What both networks share: the engine, made when it is first needed, and the steps to it and back.

    Attributes:
        engine_options: The options handed to the engine.
    """

    engine_options: EngineOptions
    _circuit: QuantumCircuit
    _observables: Sequence[BaseOperator] | None = None

    def _take_engine_options(self, arguments: Mapping[str, Any]) -> None:
        """Check the constructor's arguments, its ``locals()``, and keep those of the engine."""
        check_circuit(arguments["circuit"])
        for name in ("input_params", "weight_params"):
            checked_parameters(() if arguments[name] is None else arguments[name], name)
        self.engine_options = engine_options(arguments)
        check_bound(self.engine_options)

    @cached_property
    def differentiable(self) -> DifferentiableCircuit:
        """The engine behind the network; its inputs and weights are the network's."""
        parameters = list(self._circuit.parameters)  # inputs come before weights
        return DifferentiableCircuit(
            self._circuit,
            None if self._observables is None else list(self._observables),
            inputs=parameters[: self._num_inputs],
            weights=parameters[self._num_inputs :],
            **self.engine_options.arguments(),
        )

    def _validate_input(self, input_data: Any) -> Any:
        return super()._validate_input(None if input_data is None else _numbers(input_data, "input_data"))

    def _validate_weights(self, weights: Any) -> Any:
        return super()._validate_weights(None if weights is None else _numbers(weights, "weights"))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in {"differentiable", "_groups"}}

    def _forward(self, input_data: FloatArray | None, weights: FloatArray | None) -> Any:
        if not self._has_exact_values():
            return super()._forward(input_data, weights)
        return self._asked(self._values, input_data, weights)

    def _backward(self, input_data: FloatArray | None, weights: FloatArray | None) -> tuple[Any, Any]:
        refuse_second_derivatives()
        if not self._has_exact_gradients():
            return super()._backward(input_data, weights)  # type: ignore[no-any-return]
        inputs_too, width = self._input_gradients, self._num_inputs
        if not self._num_weights and not (inputs_too and width):
            return None, None
        jacobian = self._asked(self._jacobian, input_data, weights, "all" if inputs_too else "weights")
        return (jacobian[..., :width], jacobian[..., width:]) if inputs_too else (None, jacobian)

    def _asked(
        self, function: Callable[..., Any], input_data: FloatArray | None, weights: FloatArray | None, *more: str
    ) -> Any:
        """What a function gives for each sample; without inputs all samples are equal, and one is computed."""
        shared = np.zeros(0) if weights is None else weights
        try:
            result = function(input_data if self._num_inputs else None, shared, *more)
        except InvalidInputError as error:  # the engine's complaints about data are the network's
            raise NetworkInputError(error.message) from error
        if self._num_inputs or input_data is None:
            return result
        return result[np.zeros(len(input_data), np.intp)]

    def _has_exact_values(self) -> bool:
        raise NotImplementedError

    def _has_exact_gradients(self) -> bool:
        raise NotImplementedError

    def _values(self, x: FloatArray | None, w: FloatArray) -> Any:
        """Outputs (B, *output_shape)."""
        raise NotImplementedError

    def _jacobian(self, x: FloatArray | None, w: FloatArray, wrt: str) -> Any:
        """Derivatives (B, *output_shape, n)."""
        raise NotImplementedError


class FusedEstimatorQNN(_Network, EstimatorQNN):
    """``EstimatorQNN`` at the engine's speed: expectation values of a circuit, and their exact derivatives.

    Arguments are those of ``EstimatorQNN``, each of them optional but the circuit, and the engine's options. The
    estimator is asked only if its values are noisy (``FusedEstimator(default_precision=...)``, a backend's estimator,
    ...), and the gradient only if it is not of this package.

    Args:
        circuit, observables, input_params, weight_params, input_gradients, pass_manager: As of ``EstimatorQNN``.
        estimator: See above; by default exact values.
        gradient: See above.
        default_precision: Passed to an estimator with noise.
        device, precision, max_memory_mb, num_threads, checkpoint: As of `EngineOptions`.
        noise_model, noise_scale, readout, trajectories, noise_seed: As of `FusedEstimator`; the noise has no
            parameters.

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
        noise_model: Any = None,
        noise_scale: float = 1.0,
        readout: bool = False,
        trajectories: int | None = None,
        noise_seed: int | None = None,
    ) -> None:
        self._take_engine_options(locals())
        if estimator is None:
            estimator = FusedEstimator()
            estimator.options.update_options(**self.engine_options.arguments())
        if gradient is None:
            gradient = FusedEstimatorGradient(FusedEstimator(), pass_manager=pass_manager)
        with refused_if_too_deep(f"Circuit {circuit.name!r} cannot be given the network's parameters"):
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

    def _has_exact_values(self) -> bool:
        estimator = self.estimator
        if isinstance(estimator, FusedEstimator):
            return estimator.default_precision == 0.0
        return isinstance(estimator, QMLEstimator) and estimator.options.default_precision == 0.0

    def _has_exact_gradients(self) -> bool:
        gradient = self.gradient
        return isinstance(gradient, FusedEstimatorGradient) and gradient.derivative_type == DerivativeType.REAL

    def _values(self, x: FloatArray | None, w: FloatArray) -> FloatArray:
        return self.differentiable.values(x, w).astype(np.float64, copy=False)

    def _jacobian(self, x: FloatArray | None, w: FloatArray, wrt: str) -> FloatArray:
        return self.differentiable.jacobian(x, w, wrt).astype(np.float64, copy=False)


class FusedSamplerQNN(_Network, SamplerQNN):
    """``SamplerQNN`` at the engine's speed: exact probabilities of (interpreted) outcomes, and their derivatives.

    Arguments are those of ``SamplerQNN``, each of them optional but the circuit, and the engine's options.
    ``interpret`` is called once for every outcome, not once for every sample, outcome and weight. The Jacobian is
    computed in forward or reverse mode, whichever is cheaper. The sampler is asked only if it has shots, and the
    gradient only if it is not of this package.

    Args:
        circuit, input_params, weight_params, input_gradients, pass_manager: As of ``SamplerQNN``.
        sparse, interpret, output_shape: As of ``SamplerQNN``; without classical bits all qubits are measured. Outcomes
            are those of the registers that something is measured into, or of "meas" if there is one (`OutcomeBits`).
        sampler: See above; by default exact probabilities.
        gradient: See above.
        device, precision, max_memory_mb, num_threads, checkpoint: As of `EngineOptions`.
        noise_model, noise_scale: As of `FusedEstimator`; probabilities are those of misread bits.

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
        noise_model: Any = None,
        noise_scale: float = 1.0,
    ) -> None:
        self._take_engine_options(locals())
        if gradient is None:
            gradient = FusedSamplerGradient(sampler, pass_manager=pass_manager)
        with refused_if_too_deep(f"Circuit {circuit.name!r} cannot be given the network's parameters"):
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
        self.__dict__.pop("_groups", None)

    def _has_exact_values(self) -> bool:
        return isinstance(self.sampler, QMLSampler) and self.sampler.options.default_shots is None

    def _has_exact_gradients(self) -> bool:
        return isinstance(self.gradient, FusedSamplerGradient)

    def _values(self, x: FloatArray | None, w: FloatArray) -> Any:
        return self._shaped(self.differentiable.grouped_probabilities(x, w, self._groups, prod(self._output_shape)))

    def _shaped(self, outputs: FloatArray) -> Any:
        shaped = outputs.reshape(len(outputs), *self._output_shape)
        return _sparse_package().COO.from_numpy(shaped) if self._sparse else shaped

    def _jacobian(self, x: FloatArray | None, w: FloatArray, wrt: str) -> Any:
        if not self._sparse:
            return self._dense_jacobian(x, w, wrt)
        sparse = _sparse_package()
        step = max(DENSE_BYTES // (8 * prod(self._output_shape) * (self._num_inputs + self._num_weights)), 1)
        parts = [None] if x is None else [x[start : start + step] for start in range(0, len(x), step)]
        return sparse.concatenate([sparse.COO.from_numpy(self._dense_jacobian(part, w, wrt)) for part in parts])

    def _dense_jacobian(self, x: FloatArray | None, w: FloatArray, wrt: str) -> FloatArray:
        size = prod(self._output_shape)
        jacobian = self.differentiable.probability_jacobian(x, w, self._groups, size, wrt)
        return jacobian.reshape(len(jacobian), *self._output_shape, jacobian.shape[-1])

    @cached_property
    def _groups(self) -> NDArray[np.intp]:
        """For each value that the classical bits can take the (flat) output it counts for."""
        outcomes, groups = self.differentiable.reachable_outcomes()
        groups[:] = [self._output(value) for value in self._outcome_bits.of_clbits(outcomes).tolist()]
        return groups

    @cached_property
    def _outcome_bits(self) -> OutcomeBits:
        return read_outcome_bits(self._circuit, self._org_circuit.layout)

    def _postprocess(self, num_samples: int, result: Any) -> Any:
        """Frequencies of the (interpreted) outcomes of a sampler; the stock class is at a loss for other registers."""
        if not self._outcome_bits.registers:
            return super()._postprocess(num_samples, result)
        bits = result[0].join_data(self._outcome_bits.registers)
        outputs = np.zeros((num_samples, prod(self._output_shape)))
        for sample, row in enumerate(outputs):
            counts = bits.get_int_counts(sample)
            values = self._outcome_bits.of_registers(np.array(list(counts), dtype=object))
            for value, count in zip(values.tolist(), counts.values(), strict=True):
                row[self._output(value)] += count
        return self._shaped(outputs / bits.num_shots)

    def _output(self, value: int) -> int:
        key = self._interpret(value)
        index = tuple(int(part) for part in (key if isinstance(key, Sequence | np.ndarray) else (key,)))
        shape = self._output_shape
        if len(index) == len(shape) and all(0 <= part < size for part, size in zip(index, shape, strict=True)):
            return int(np.ravel_multi_index(index, shape))
        hint = ""
        if self._interpret is _identity:
            hint = " Measure into the first bits of a register, or give interpret and output_shape."
        raise NetworkInputError(f"interpret({value}) is {key}, which is no index of an output of shape {shape}.{hint}")


def _numbers(values: Any, name: str) -> FloatArray:
    try:
        return real_array(values, name, copy=False)
    except InvalidInputError as error:
        raise NetworkInputError(error.message) from error


def _identity(value: int) -> int:
    return value


def _sparse_package() -> Any:
    import sparse

    return sparse
