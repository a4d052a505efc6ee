"""Parameter values as callers give them: which differ from sample to sample, without repeating what samples share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import FloatArray, IntArray, consecutive, index_array, real_array, shown
from ..devices import _native
from ..devices.own_memory import DeviceWithMemory
from ..errors import InvalidInputError

Loss = Callable[[NDArray[np.floating]], tuple[float, ArrayLike]]
"""From values (B, n_obs) to a number and its derivatives by the values."""

Take = Callable[[ArrayLike, str], FloatArray]


class ParameterSet(bytes):
    """Parameters by number, ascending. As it is made of the numbers' bytes, equal sets are equal keys."""

    @cached_property
    def indices(self) -> IntArray:
        """The numbers."""
        return np.frombuffer(self, dtype=np.intp)


@lru_cache(maxsize=64)
def first_parameters(count: int) -> ParameterSet:
    """Parameters 0 to count - 1."""
    return ParameterSet(np.arange(count, dtype=np.intp))


NO_PARAMETERS = first_parameters(0)


class ParameterBatch(NamedTuple):
    """P parameter values for each of B samples.

    Attributes:
        shared: (P,) the values of the first sample; all samples share those that are not batched.
        batched: The parameters that differ from sample to sample.
        samples: (B, V) their values.
        batch: Number of samples B.
        per_sample: Whether weights were given for each sample, so that their gradients are wanted for each.
        initial_states: The amplitudes (2**n,) or (B, 2**n) that samples start from; None for ``|0...0>``.
        on_device: Whether the values are in a device's memory.
        first: Number of the first sample within the whole batch.
    """

    shared: FloatArray
    batched: ParameterSet
    samples: FloatArray
    batch: int
    per_sample: bool = False
    initial_states: NDArray[np.complex128] | None = None
    on_device: bool = False
    first: int = 0

    def part(self, start: int, stop: int) -> ParameterBatch:
        """Some of the samples, with states of their own; ``shared`` stays, and a batched parameter stays batched."""
        states = self.initial_states
        return self._replace(
            samples=self.samples[start:stop],
            batch=stop - start,
            initial_states=states if states is None or states.ndim == 1 else states[start:stop].copy(),
            first=self.first + start,
        )

    def full(self) -> FloatArray:
        """The values (B, P) of all samples."""
        values = np.tile(self.shared, (self.batch, 1))
        if self.batched:
            values[:, consecutive(self.batched.indices, like=values)] = self.samples
        return values


def parameter_batch(
    inputs: FloatArray | None, weights: FloatArray, initial_states: NDArray[np.complex128] | None = None
) -> ParameterBatch:
    """Join inputs (B, n_in) or None, weights (n_w,) or (B, n_w), and initial states (2**n,) or (B, 2**n) or None.

    Inputs are batched where there are several samples. Weights that are equal in all samples are shared, except in a
    device's memory, where they are not compared.

    Raises:
        InvalidInputError: If the numbers of samples and of initial states do not go together.
    """
    per_sample, on_device = weights.ndim == 2, not isinstance(weights, np.ndarray)
    batch = len(weights) if per_sample else 1
    shared = weights[0] if per_sample else weights
    num_inputs = 0
    if inputs is not None:
        num_inputs, batch = inputs.shape[1], max(batch, len(inputs))
        shared = np.concatenate([inputs[0], shared])
    if initial_states is not None and initial_states.ndim == 2 and len(initial_states) != batch:
        if batch > 1:
            raise InvalidInputError(
                f"The program holds {len(initial_states)} initial states and {batch} rows of parameters were given."
            )
        batch = len(initial_states)
    batched, columns = NO_PARAMETERS, []
    if inputs is not None and batch > 1:
        batched = first_parameters(num_inputs)
        columns.append(inputs if len(inputs) == batch else np.broadcast_to(inputs, (batch, num_inputs)))
    if per_sample and batch > 1:
        differing = _differing_columns(weights)
        chosen = weights if len(differing) == weights.shape[1] else weights[:, differing]
        batched = ParameterSet(np.concatenate([batched.indices, num_inputs + differing]))
        columns.append(chosen if len(chosen) == batch else np.broadcast_to(chosen, (batch, len(differing))))
    samples = np.concatenate(columns, axis=1) if len(columns) > 1 else columns[0] if columns else np.empty((batch, 0))
    return ParameterBatch(shared, batched, samples, batch, per_sample, initial_states, on_device)


def _differing_columns(weights: Any) -> IntArray:
    """The columns whose entries are not all equal. Most show it in the last sample already."""
    if not isinstance(weights, np.ndarray):
        return np.arange(weights.shape[1], dtype=np.intp)
    differ = weights[-1] != weights[0]
    undecided = np.flatnonzero(~differ)
    if len(undecided):
        differ[undecided] = (weights[:, undecided] != weights[0, undecided]).any(axis=0)
    found: IntArray = np.flatnonzero(differ)
    return found


def checked_arrays(
    x: ArrayLike | None, w: ArrayLike | None, num_inputs: int, num_weights: int, take: Take = real_array
) -> tuple[FloatArray | None, FloatArray]:
    """Inputs (B, num_inputs), None where there are none, and weights (num_weights,) or (B, num_weights).

    ``take`` copies them to where they are needed: a caller may change its own arrays before the pullback.

    Raises:
        InvalidInputError: If they have other shapes or do not go together.
    """
    inputs = None
    if x is not None:
        inputs = take(x, "x")
        if inputs.shape == (num_inputs,):
            inputs = inputs[None, :]
        if inputs.ndim != 2 or inputs.shape[1] != num_inputs or not len(inputs):
            hint = "" if num_inputs else " The circuit has no inputs: was inputs=... meant when it was made?"
            raise InvalidInputError(f"x has shape {inputs.shape}; (B, {num_inputs}) with B >= 1 is expected.{hint}")
    elif num_inputs:
        raise InvalidInputError(f"x is None; an array of shape (B, {num_inputs}) is expected.")
    weights = take([] if w is None else w, "w")
    if weights.ndim not in (1, 2) or weights.shape[-1] != num_weights or (num_weights and not len(weights)):
        raise InvalidInputError(
            f"w has shape {weights.shape}; ({num_weights},), or (B, {num_weights}) for weights by row, is expected."
        )
    if inputs is not None and weights.ndim == 2 and len(inputs) != len(weights):
        raise InvalidInputError(f"x has {len(inputs)} rows and w has {len(weights)}; equal numbers are expected.")
    return inputs, weights


def taking(memory: DeviceWithMemory, x: Any, w: Any, *, on_host: bool) -> Take:
    """What copies x and w: to a device's memory if one of them is there, unless ``on_host``, else to the host."""
    if not (memory.is_on_device(x) or memory.is_on_device(w)):
        return real_array

    def brought(array: Any, name: str) -> FloatArray:
        return memory.to_host(array) if memory.is_on_device(array) else real_array(array, name)

    return brought if on_host else memory.take


def evaluated_loss(loss: Loss | None, values: NDArray[np.floating]) -> tuple[float, ArrayLike]:
    """The loss and its derivatives by the values (B, n_obs); their sum and ones without a loss.

    Raises:
        InvalidInputError: If the loss does not give both.
    """
    if loss is None:
        return float(values.sum()), np.ones_like(values)
    result: Any = loss(values)
    try:
        scalar, cotangents = result
        return float(scalar), cotangents
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"The loss returned {result!r:.60}; (loss, dloss/dvalues) is expected, a number and an array of shape "
            f"{tuple(values.shape)}. Such is the mean: lambda v: (v.mean(), np.full_like(v, 1 / v.size))."
        ) from error


def checked_cotangents(values: ArrayLike, shape: tuple[int, int], memory: DeviceWithMemory | None = None) -> FloatArray:
    """Cotangents of the values (samples, observables).

    Args:
        values: What was given.
        shape: The shape that is expected.
        memory: Where they may be, too; those there are not checked to be finite, as the host would have to wait.

    Raises:
        InvalidInputError: If they have another shape or are not finite.
    """
    there = memory is not None and memory.is_on_device(values)
    array = cast(FloatArray, values) if there else real_array(values, "cotangents", copy=False)
    if tuple(array.shape) != shape:
        found = tuple(array.shape)
        raise InvalidInputError(f"Cotangents have shape {found}; {shape} (samples, observables) is expected.")
    if not there and not _native.all_finite(array):
        raise InvalidInputError(
            "Cotangents hold NaN or infinite numbers; the loss has diverged before the backward sweep."
        )
    return array


def parameter_indices(wanted: str | Sequence[int], num_inputs: int, total: int) -> IntArray:
    """The parameters, inputs first, that "weights", "inputs", "all" or a sequence of numbers means.

    Raises:
        InvalidInputError: For another word, and for numbers of no parameter.
    """
    named = {"weights": (num_inputs, total), "inputs": (0, num_inputs), "all": (0, total)}
    expected = "'weights', 'inputs', 'all' or a sequence of parameters"
    if not isinstance(wanted, str):
        return index_array(wanted, "wrt", total, expected)
    if wanted not in named:
        raise InvalidInputError(f"wrt is {shown(wanted)}; {expected} is expected.")
    return np.arange(*named[wanted], dtype=np.intp)
