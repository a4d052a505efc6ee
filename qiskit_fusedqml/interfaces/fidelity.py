"""Fidelity kernels: all states in one batch, all overlaps in one matrix product.

``|<phi(x)|phi(y)>|**2`` for N and M samples costs N + M simulations, not N * M circuits. `FusedFidelityKernel` is the
kernel; `FusedFidelity` is what the stock kernels, and whatever else compares states, take as ``fidelity``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.providers import Options
from qiskit_machine_learning.kernels import TrainableKernel
from qiskit_machine_learning.state_fidelities import BaseStateFidelity
from qiskit_machine_learning.state_fidelities.state_fidelity_result import StateFidelityResult
from qiskit_machine_learning.utils import algorithm_globals

from ..errors import InvalidInputError
from .cache import CACHE, EngineOptions, compile_circuit
from .circuit import DifferentiableCircuit
from .jobs import FinishedJob
from .overlaps import gram, pair_fidelities, pull_states
from .rows import RowSet

FloatArray = NDArray[np.float64]

_DUPLICATES = ("all", "off_diagonal", "none")


class FusedFidelityKernel(TrainableKernel):
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
            "off_diagonal", all but the diagonal of a symmetric matrix; "none" (default), those of distinct samples.
        fidelity: Taken for compatibility with ``FidelityQuantumKernel``, which asks it for every entry; here it is
            asked for nothing, and anything but a `FusedFidelity` causes a warning.
        statevector_type: Taken for compatibility with ``FidelityStatevectorKernel``; without effect.
        cache_size: Likewise.
        auto_clear_cache: Likewise.
        max_circuits_per_job: Taken for compatibility with ``FidelityQuantumKernel``; without effect.
        device: "CPU" or "GPU".
        precision: "double" or "single".
        max_memory_mb: Memory the states of one call may take.
        num_threads: Number of threads; by default every core this process may use.

    Raises:
        InvalidInputError: If ``evaluate_duplicates`` or ``shots`` is none of these.

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
        evaluate_duplicates: str = "none",
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
        super().__init__(feature_map=feature_map, enforce_psd=enforce_psd, training_parameters=training_parameters)
        if evaluate_duplicates.lower() not in _DUPLICATES:
            raise InvalidInputError(
                f"evaluate_duplicates is {evaluate_duplicates!r}; one of {_DUPLICATES} is expected."
            )
        if shots is not None and shots < 1:
            raise InvalidInputError(f"shots is {shots}; a positive number, or None for exact entries, is expected.")
        if fidelity is not None and not isinstance(fidelity, FusedFidelity):
            warnings.warn(
                f"FusedFidelityKernel computes fidelities itself: noise and shots of {type(fidelity).__name__} do not "
                "enter. Leave fidelity out to say so, and give shots=... for noise.",
                stacklevel=2,
            )
        del statevector_type, cache_size, auto_clear_cache, max_circuits_per_job
        self._evaluate_duplicates = evaluate_duplicates.lower()
        self._shots = shots
        self._num_features -= self._num_training_parameters
        self.engine_options = EngineOptions(device, precision, max_memory_mb, num_threads)

    @property
    def evaluate_duplicates(self) -> str:
        """Which entries have noise."""
        return self._evaluate_duplicates

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
        x, y = self._samples(x_vec, y_vec)
        kernel = gram(*self._engine(), x, y)
        if self._shots is None:
            return kernel
        symmetric = y is None or np.array_equal(x, y)
        noisy = self._with_noise(kernel, x, x if y is None else y, symmetric)
        return _nearest_psd(noisy) if symmetric and self._enforce_psd else noisy

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
        x, y = self._samples(x_vec, y_vec)
        engine, weights = self._engine()
        kernel = gram(engine, weights, x, y)
        given = np.asarray(cotangents(kernel) if callable(cotangents) else cotangents, np.float64)
        if given.shape != kernel.shape:
            raise InvalidInputError(f"Cotangents have shape {given.shape}; {kernel.shape} is expected.")
        if y is None:  # every entry moves with its row's state and with its column's
            return kernel, pull_states(engine, weights, x, x, given + given.T)
        return kernel, pull_states(engine, weights, x, y, given) + pull_states(engine, weights, y, x, given.T)

    def _samples(self, x_vec: ArrayLike, y_vec: ArrayLike | None) -> tuple[FloatArray, FloatArray | None]:
        x, y = self._validate_input(np.asarray(x_vec), y_vec)
        return np.asarray(x, np.float64), None if y is None else np.asarray(y, np.float64)

    def _engine(self) -> tuple[DifferentiableCircuit, FloatArray]:
        self._check_trainable_parameters()
        training = tuple(self._training_parameters)
        options = self.engine_options

        def build(circuit: QuantumCircuit) -> DifferentiableCircuit:
            features = [parameter for parameter in circuit.parameters if parameter not in set(training)]
            return DifferentiableCircuit(circuit, None, features, training, **asdict(options))

        engine = CACHE.get(self._feature_map, ("kernel", training, options), build)
        return engine, np.asarray(self.parameter_values, np.float64)

    def _with_noise(self, kernel: FloatArray, x: FloatArray, y: FloatArray, symmetric: bool) -> FloatArray:
        """Binomial noise, entry by entry in C order, on the entries that `evaluate_duplicates` names."""
        measured = np.ones(kernel.shape, bool)
        if self._evaluate_duplicates == "off_diagonal" and symmetric:
            np.fill_diagonal(measured, val=False)
        elif self._evaluate_duplicates == "none":
            rows = RowSet(x.shape[1])
            measured = rows.add(x, x)[:, None] != rows.add(y, y)
        noisy = np.ones(kernel.shape)
        probabilities = np.clip(kernel[measured], 0.0, 1.0)
        noisy[measured] = algorithm_globals.random.binomial(self._shots, probabilities) / self._shots
        return noisy


class FusedFidelity(BaseStateFidelity):
    """``|<psi|phi>|**2`` of pairs of circuits, exact: each distinct state is simulated once.

    ``FidelityQuantumKernel(fidelity=FusedFidelity())`` and ``TrainableFidelityQuantumKernel`` use it, as do other
    algorithms that take a ``BaseStateFidelity``.

    Args:
        device: "CPU" or "GPU".
        precision: "double" or "single".
        max_memory_mb: Memory the states of one call may take.
        num_threads: Number of threads; by default every core this process may use.
    """

    def __init__(
        self,
        *,
        device: str = "CPU",
        precision: str = "double",
        max_memory_mb: float | None = None,
        num_threads: int | None = None,
    ) -> None:
        super().__init__()
        self.engine_options = EngineOptions(device, precision, max_memory_mb, num_threads)

    def create_fidelity_circuit(self, circuit_1: QuantumCircuit, circuit_2: QuantumCircuit) -> QuantumCircuit:
        """The first circuit followed by the second one undone; for show, `run` compares states."""
        return circuit_1.remove_final_measurements(inplace=False).compose(
            circuit_2.remove_final_measurements(inplace=False).inverse()
        )

    def run(
        self,
        circuits_1: QuantumCircuit | Sequence[QuantumCircuit],
        circuits_2: QuantumCircuit | Sequence[QuantumCircuit],
        values_1: Sequence[float] | Sequence[Sequence[float]] | None = None,
        values_2: Sequence[float] | Sequence[Sequence[float]] | None = None,
        **options: Any,
    ) -> FinishedJob[StateFidelityResult]:
        """The fidelities of ``circuits_1[i]`` at ``values_1[i]`` and ``circuits_2[i]`` at ``values_2[i]``.

        Args:
            circuits_1: N circuits, or one.
            circuits_2: N circuits, or one.
            values_1: N rows of values, or one; None without parameters.
            values_2: The same for the second circuits.
            **options: Recorded in the result.

        Returns:
            A job that has run.

        Raises:
            ValueError: For lengths and widths that do not fit, and for values that are not finite.
        """
        first = [circuits_1] if isinstance(circuits_1, QuantumCircuit) else list(circuits_1)
        second = [circuits_2] if isinstance(circuits_2, QuantumCircuit) else list(circuits_2)
        if len(first) != len(second):
            raise InvalidInputError(
                f"The length of the first circuit list ({len(first)}) and second circuit list ({len(second)}) is not "
                "the same."
            )
        for one, other in zip(first, second, strict=True):
            self._check_qubits_match(one, other)
        rows_1, rows_2 = (
            _rows_of(circuits, self._preprocess_values(circuits, values))
            for circuits, values in ((first, values_1), (second, values_2))
        )
        return FinishedJob(self._fidelities, first, second, rows_1, rows_2, Options(**options))

    def _run(self, *arguments: Any, **options: Any) -> FinishedJob[StateFidelityResult]:
        """The base class's hook; the same as `run`."""
        return self.run(*arguments, **options)

    def _fidelities(
        self,
        first: list[QuantumCircuit],
        second: list[QuantumCircuit],
        rows_1: list[Sequence[float]],
        rows_2: list[Sequence[float]],
        options: Options,
    ) -> StateFidelityResult:
        pairs: dict[tuple[int, int], list[int]] = {}
        for position, (one, other) in enumerate(zip(first, second, strict=True)):
            pairs.setdefault((id(one), id(other)), []).append(position)
        raw = np.empty(len(first))
        for positions in pairs.values():
            one, other = first[positions[0]], second[positions[0]]
            sides = [
                _distinct([rows[position] for position in positions], circuit.num_parameters)
                for rows, circuit in ((rows_1, one), (rows_2, other))
            ]
            engines = [compile_circuit(CACHE.known(circuit), None, self.engine_options) for circuit in (one, other)]
            raw[positions] = pair_fidelities(engines, sides)
        clipped = np.clip(raw, 0.0, 1.0).tolist()
        return StateFidelityResult(
            fidelities=clipped, raw_fidelities=raw.tolist(), metadata=[{}] * len(first), options=options
        )


def _nearest_psd(matrix: FloatArray) -> FloatArray:
    """The nearest positive semidefinite matrix to the symmetric part."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return np.asarray((vectors * np.maximum(values, 0.0)) @ vectors.T)


def _rows_of(circuits: Sequence[QuantumCircuit], values: Sequence[Sequence[float]]) -> list[Sequence[float]]:
    """A row of values for each circuit."""
    rows = list(values) if len(values) == len(circuits) or any(values[0]) else [values[0]] * len(circuits)
    if len(rows) != len(circuits):
        raise InvalidInputError(f"{len(rows)} rows of values were given for {len(circuits)} circuits.")
    for position, (row, circuit) in enumerate(zip(rows, circuits, strict=True)):
        if len(row) != circuit.num_parameters:
            raise InvalidInputError(
                f"The number of values ({len(row)}) does not match the number of parameters "
                f"({circuit.num_parameters}) for the {position}-th circuit."
            )
    return rows


def _distinct(rows: Sequence[Sequence[float]], width: int) -> tuple[FloatArray, NDArray[np.intp]]:
    """The distinct rows, and the place of each row among them."""
    found = RowSet(width)
    places = found.add(rows, np.array(rows, np.float64).reshape(len(rows), width))
    return found.array(), places
