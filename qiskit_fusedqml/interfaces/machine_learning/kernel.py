"""`FusedFidelityKernel`: all states in one batch, all overlaps in one matrix product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit_machine_learning.kernels import TrainableFidelityQuantumKernel
from qiskit_machine_learning.state_fidelities import BaseStateFidelity
from qiskit_machine_learning.utils import algorithm_globals

from ...arrays import FloatArray, real_array, shown, whole_number
from ...engine.options import EngineOptions, engine_arguments
from ...errors import InvalidInputError, warn_slow_path
from ..qiskit.batches import ParameterSets
from ..qiskit.cache import CACHE, check_circuit
from ..qiskit.compiled import compile_circuit, lowered_circuit
from .fidelities import FusedFidelity
from .overlaps import StateCache, States, gram

_DUPLICATES = ("all", "off_diagonal", "none")


class FusedFidelityKernel(TrainableFidelityQuantumKernel):
    """``K[i, j] = |<phi(x_i)|phi(y_j)>|**2`` of a feature map, exact or with the noise of a number of shots.

    Takes the place of ``FidelityStatevectorKernel``, ``FidelityQuantumKernel`` and, with ``training_parameters``,
    their trainable forms; ``kernel.evaluate`` is what scikit-learn's ``SVC(kernel=...)`` wants. States that do not fit
    the memory budget are made block by block. An exact matrix is positive semidefinite by itself; one with noise is
    projected onto the nearest such matrix.

    Args:
        feature_map: The circuit; its parameters other than the training ones take the columns of the data.
        training_parameters: Parameters that are trained; `assign_training_parameters` gives them values.
        shots: Number of shots whose noise the entries have; None for exact ones.
        enforce_psd: Whether a symmetric matrix with noise is projected.
        evaluate_duplicates: Which entries have noise, as of ``FidelityQuantumKernel``: "all", also the diagonal;
            "off_diagonal" (default with a ``fidelity``), all but the diagonal of a symmetric matrix; "none" (default
            otherwise), those of distinct samples.
        fidelity: What is asked for every entry, as in ``FidelityQuantumKernel`` and at its pace, if it is not a
            (global) `FusedFidelity`; a `SlowPathWarning` says so once for each class. A `FusedFidelity` lends its
            engine options.
        statevector_type: Taken for compatibility with ``FidelityStatevectorKernel``; without effect.
        cache_size: States that are kept at most with ``auto_clear_cache=False``; None for no bound.
        auto_clear_cache: Whether each call of `evaluate` makes all states anew. If not, those of samples that were seen
            before are kept: a prediction needs those of the training set again.
        max_circuits_per_job: Entries for which such a ``fidelity`` is asked at a time.
        device, precision, max_memory_mb, num_threads: As of `EngineOptions`.

    Raises:
        InvalidInputError: If ``evaluate_duplicates``, ``shots`` or ``max_circuits_per_job`` is none of these, or if
            both ``shots`` and a ``fidelity`` with noise of its own are given.

    Example:
        >>> from qiskit.circuit.library import zz_feature_map
        >>> from qiskit_fusedqml import FusedFidelityKernel
        >>> kernel = FusedFidelityKernel(feature_map=zz_feature_map(2))
        >>> kernel.evaluate([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], [[0.1, 0.2]]).shape
        (3, 1)
    """

    def __init__(
        self,
        *,
        feature_map: QuantumCircuit | None = None,
        training_parameters: ParameterVector | Sequence[Parameter] | None = None,
        shots: int | None = None,
        enforce_psd: bool = True,
        evaluate_duplicates: str | None = None,
        fidelity: BaseStateFidelity | None = None,
        statevector_type: Any = None,
        cache_size: int | None = None,
        auto_clear_cache: bool = True,
        max_circuits_per_job: int | None = None,
        device: str = "CPU",
        precision: str = "double",
        max_memory_mb: float | None = None,
        num_threads: int | None = None,
    ) -> None:
        exact = FusedFidelity(**engine_arguments(locals()))
        _check_count(shots, "shots")
        _check_count(max_circuits_per_job, "max_circuits_per_job")
        _check_count(cache_size, "cache_size", least=0)
        if feature_map is not None:
            check_circuit(feature_map, "feature_map")
        super().__init__(
            feature_map=feature_map,
            fidelity=exact if fidelity is None else fidelity,
            training_parameters=training_parameters,
            enforce_psd=enforce_psd,
            evaluate_duplicates=_checked_duplicates(
                evaluate_duplicates, "none" if fidelity is None else "off_diagonal"
            ),
        )
        del statevector_type
        self._auto_clear_cache = auto_clear_cache
        self._get_statevector = StateCache(cache_size)  # the stock class's name for what keeps its states
        self.max_circuits_per_job = max_circuits_per_job
        self._shots = shots
        self._check_fidelity()

    @property
    def engine_options(self) -> EngineOptions:
        """The options handed to the engine, if entries are not asked of a ``fidelity`` that does not use it."""
        if self._exact is None:
            raise InvalidInputError(
                f"The entries come from {type(self.fidelity).__name__}, one by one; the engine knows none of them. "
                "Leave fidelity out for exact entries and their gradients."
            )
        return self._exact.engine_options

    @property
    def _exact(self) -> FusedFidelity | None:
        """The fidelity if it is the one that the engine computes."""
        fidelity = self.fidelity
        return fidelity if isinstance(fidelity, FusedFidelity) and not fidelity.local else None

    def _check_fidelity(self) -> None:
        """Refuse noise of two kinds, and say once what a fidelity costs that is asked for every entry."""
        kind = type(self.fidelity).__name__
        if self._shots is not None and self._exact is None:
            raise InvalidInputError(
                f"shots={self._shots} asks for noise on exact entries, and fidelity={kind} for entries of its own. "
                "Give one of them."
            )
        if not isinstance(self.fidelity, FusedFidelity):
            warn_slow_path(
                f"fidelity={kind} is asked for every entry of the kernel matrix by itself, one circuit each. Leave it "
                "out, or give FusedFidelity(), for exact entries from one sweep and one matrix product; shots=... adds "
                "their noise."
            )

    @property
    def shots(self) -> int | None:
        """Number of shots, None for exact entries."""
        return self._shots

    def evaluate(self, x_vec: ArrayLike, y_vec: ArrayLike | None = None) -> FloatArray:
        """The kernel matrix.

        Args:
            x_vec: Samples (N, num_features), or one.
            y_vec: Samples (M, num_features), or one; None for ``x_vec``.

        Returns:
            (N, M).

        Raises:
            ValueError: If a width is wrong or a number is not finite.
            QiskitMachineLearningError: If training parameters have no values.
        """
        if self._exact is None:
            return np.asarray(super().evaluate(x_vec, y_vec))
        states, x, y = self._prepared(x_vec, y_vec)
        kernel = gram(states, x, y)
        if self._shots is None:
            return kernel
        symmetric = y is None or np.array_equal(x, y)
        noisy = self._with_noise(kernel, x, x if y is None else y, symmetric)
        return self._make_psd(noisy) if symmetric and self._enforce_psd else noisy

    def clear_cache(self) -> None:
        """Forget the states that ``auto_clear_cache=False`` has kept."""
        self._get_statevector.cache_clear()

    def value_and_vjp(
        self,
        x_vec: ArrayLike,
        y_vec: ArrayLike | None,
        cotangents: ArrayLike | Callable[[FloatArray], ArrayLike],
    ) -> tuple[FloatArray, FloatArray]:
        """The exact kernel matrix and the gradient of a function of it with respect to the training parameters.

        One forward and one backward sweep over all samples, whatever the number of training parameters.

        Args:
            x_vec: Samples (N, num_features).
            y_vec: Samples (M, num_features), or None for ``x_vec``.
            cotangents: Derivatives (N, M) of the function with respect to the entries, or a function from the matrix
                to them.

        Returns:
            The matrix (N, M) and the gradient (num_training_parameters,).
        """
        states, x, y = self._prepared(x_vec, y_vec)
        kernel = gram(states, x, y)
        given = real_array(cotangents(kernel) if callable(cotangents) else cotangents, "cotangents")
        if given.shape != kernel.shape:
            raise InvalidInputError(f"Cotangents have shape {given.shape}; {kernel.shape} is expected.")
        if y is None:  # every entry moves with its row's state and with its column's
            return kernel, states.pull(x, x, given + given.T)
        return kernel, states.pull(x, y, given) + states.pull(y, x, given.T)

    def _prepared(self, x_vec: ArrayLike, y_vec: ArrayLike | None) -> tuple[States, FloatArray, FloatArray | None]:
        """The states, and the samples (N, num_features) and (M, num_features) or None."""
        x, y = self._validate_input(_samples(x_vec, "x_vec"), None if y_vec is None else _samples(y_vec, "y_vec"))
        self._check_trainable_parameters()
        known, training = CACHE.known(self._feature_map), tuple(self._training_parameters)
        trained = set(training)
        order = (*(parameter for parameter in known.parameters if parameter not in trained), *training)
        lowered_circuit(known, self.engine_options, order).check_pure("a fidelity of state vectors")
        engine = compile_circuit(known, None, self.engine_options, order, num_inputs=len(order) - len(training))
        weights = np.asarray(self.parameter_values, np.float64)
        return States(engine, weights, None if self._auto_clear_cache else self._get_statevector), x, y

    def _with_noise(self, kernel: FloatArray, x: FloatArray, y: FloatArray, symmetric: bool) -> FloatArray:
        """Binomial noise, entry by entry in C order, on the entries that `evaluate_duplicates` names."""
        measured = np.ones(kernel.shape, bool)
        if self._evaluate_duplicates == "off_diagonal" and symmetric:
            np.fill_diagonal(measured, val=False)
        elif self._evaluate_duplicates == "none":
            samples = ParameterSets(x.shape[1])
            measured = samples.add(x)[:, None] != samples.add(y)
        noisy = np.ones(kernel.shape)
        exact = np.clip(kernel[measured], 0.0, 1.0)
        noisy[measured] = algorithm_globals.random.binomial(self._shots, exact) / self._shots
        return noisy

    def _make_psd(self, kernel_matrix: FloatArray) -> FloatArray:
        """The nearest positive semidefinite matrix to the symmetric part."""
        values, vectors = np.linalg.eigh((kernel_matrix + kernel_matrix.T) / 2)
        return np.asarray((vectors * np.maximum(values, 0.0)) @ vectors.T)


def _check_count(number: int | None, name: str, least: int = 1) -> None:
    if number is not None:
        whole_number(number, name, "a positive number or None", least=least)


def _checked_duplicates(given: object, default: str) -> str:
    if given is None:
        return default
    if not isinstance(given, str) or given.lower() not in _DUPLICATES:
        raise InvalidInputError(f"evaluate_duplicates is {shown(given)}; one of {_DUPLICATES} is expected.")
    return given


def _samples(values: ArrayLike, name: str) -> FloatArray:
    samples = real_array(values, name, copy=False)
    if samples.ndim not in (1, 2):
        raise InvalidInputError(f"{name} has shape {samples.shape}; (N, num_features), or one sample, is expected.")
    return samples
