"""`RankBatches`: the samples of a batch among groups of ranks, each of which shares one state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import FloatArray, whole_number
from ..engine.parameters import checked_arrays, checked_cotangents
from ..engine.program_function import Gradients, ProgramFunction
from ..engine.trajectories import CALLED_BEFORE
from ..errors import FusedQMLError, InvalidInputError
from .agreement import Agreement, digest
from .communicators import Communicator, gathered
from .shared_device import ranks_of_state, shared_communicator

Array = NDArray[np.floating]


class RankBatches:
    """A function whose samples are computed by groups of ranks; all ranks give all samples, and get all results.

    Group k takes the k-th share of the samples, in their order. Its ranks share every state. Gradients of weights are
    added up in the order of the groups, so that they are the same bits on all ranks. Everything else is the function's:
    it is what the group's ranks compute together.

    Args:
        function: The function on this rank's group.
        comm: All ranks.
        ranks_per_state: Ranks of a group.
    """

    def __init__(self, function: ProgramFunction, comm: Communicator, ranks_per_state: int) -> None:
        self.function, self._comm = function, comm
        self._groups, self._each = comm.size // ranks_per_state, ranks_per_state
        self._group = comm.rank // ranks_per_state
        self._agreement = Agreement(comm)
        sizes = (function.num_inputs, function.num_weights, function.dtype.name, self._groups)
        self._structure = digest([repr(function.observables), str(sizes)])

    def __getattr__(self, name: str) -> Any:
        if name == "function":  # of an object that is still empty
            raise AttributeError(name)
        return getattr(self.function, name)

    def __deepcopy__(self, memo: Any) -> RankBatches:
        return self

    def values(self, x: ArrayLike | None = None, w: ArrayLike | None = None) -> Array:
        """Values (B, n_obs), as of `ProgramFunction.values`."""
        arrays = self._checked(x, w)
        self._begin("values", *arrays)
        return self._joined(arrays, lambda own: self.function.values(*own))

    def vjp(
        self, x: ArrayLike | None = None, w: ArrayLike | None = None
    ) -> tuple[Array, Callable[[ArrayLike], Gradients]]:
        """Values and a pullback, as of `ProgramFunction.vjp`."""
        arrays = self._checked(x, w)
        self._begin("vjp", *arrays)
        pulls: list[Any] = []

        def forward(own: tuple[Any, Any]) -> Array:
            values, pull = self.function.vjp(*own)
            pulls.append(pull)
            return values

        values = self._joined(arrays, forward)

        def pullback(cotangents: ArrayLike) -> Gradients:
            checked = checked_cotangents(cotangents, values.shape)
            self._begin("pullback", *arrays, checked)
            return self._pulled(arrays, checked, pulls.pop() if pulls else None)

        return values, pullback

    def agreed(self, numbers: FloatArray) -> Array:
        """The numbers of the first rank."""
        self._agreement.begin("agree", digest([str(numbers.shape)]), digest([]))
        found: Array = gathered(self._comm, np.asarray(numbers, np.float64))[0]
        return found

    def _checked(self, x: ArrayLike | None, w: ArrayLike | None) -> tuple[FloatArray | None, FloatArray]:
        return checked_arrays(x, w, self.function.num_inputs, self.function.num_weights)

    def _begin(self, call: str, x: FloatArray | None, w: FloatArray, *more: FloatArray) -> None:
        numbers = [array for array in (x, w, *more) if array is not None]
        self._agreement.begin(call, self._structure, digest(numbers))

    def _share(self, group: int, batch: int) -> slice:
        return slice(batch * group // self._groups, batch * (group + 1) // self._groups)

    def _own(self, arrays: tuple[FloatArray | None, FloatArray]) -> tuple[tuple[Any, Any], slice, int]:
        """This group's samples, their place among all, and how many there are."""
        x, w = arrays
        batch = max(1 if x is None else len(x), len(w) if w.ndim == 2 else 1)
        part = self._share(self._group, batch)
        return (None if x is None else x[part], w if w.ndim == 1 else w[part]), part, batch

    def _joined(
        self, arrays: tuple[FloatArray | None, FloatArray], compute: Callable[[tuple[Any, Any]], Array]
    ) -> Array:
        """An array (B, ...) of all samples, from what each group computes of its own."""
        own, part, batch = self._own(arrays)
        width = self.function.num_observables

        def action() -> Array:
            empty: Array = np.zeros((0, width), self.function.dtype)
            return compute(own) if part.stop > part.start else empty

        return self._rows(self._agreement.step(action), batch)

    def _rows(self, own: Array, batch: int) -> Array:
        rows = -(-batch // self._groups)
        padded = np.zeros((rows, *own.shape[1:]), own.dtype)
        padded[: len(own)] = own
        found = gathered(self._comm, padded)[:: self._each]
        sizes = [self._share(group, batch) for group in range(self._groups)]
        return np.concatenate([found[group, : part.stop - part.start] for group, part in enumerate(sizes)])

    def _pulled(self, arrays: tuple[FloatArray | None, FloatArray], cotangents: FloatArray, pull: Any) -> Gradients:
        _, part, batch = self._own(arrays)
        function, (x, w) = self.function, arrays
        is_empty = part.stop == part.start

        def action() -> tuple[Any, Any]:
            if is_empty:
                return np.zeros((0, function.num_inputs), function.dtype), np.zeros(
                    (0,) * (w.ndim - 1) + (function.num_weights,), function.dtype
                )
            if pull is None:
                raise FusedQMLError(CALLED_BEFORE)
            found: tuple[Any, Any] = pull(cotangents[part])
            return found

        dx, dw = self._agreement.step(action)
        total = self._rows(dw, batch) if w.ndim == 2 else gathered(self._comm, dw)[:: self._each].sum(axis=0)
        if not function.input_gradients or x is None:
            return None, total
        return self._rows(dx, batch), total


class StateRanks:
    """The ranks of a communicator, and those of them that share a state with this one.

    Args:
        comm: The communicator, as of `shared_device`.
        timeout: Seconds that a rank waits for another at most; None for 600.
        ranks_per_state: How many neighbouring ranks share a state; all of them by default.

    Attributes:
        all: All ranks.
        of_state: Those that share a state with this one.
        timeout: As given.

    Raises:
        InvalidInputError: If ``ranks_per_state`` is not a power of two that divides the number of ranks.
    """

    def __init__(self, comm: Any, timeout: float | None = None, ranks_per_state: int | None = None) -> None:
        self.timeout, self.all = timeout, shared_communicator(comm, timeout)
        size = self.all.size
        each = size if ranks_per_state is None else whole_number(ranks_per_state, "ranks_per_state", least=1)
        if each & each - 1 or size % each:
            raise InvalidInputError(
                f"{each} of {size} ranks cannot share a state; a power of two that divides the number of ranks is "
                "expected. Give another ranks_per_state, or start another number of ranks."
            )
        self.of_state = ranks_of_state(comm, timeout, each)

    def __deepcopy__(self, memo: Any) -> StateRanks:
        return self
