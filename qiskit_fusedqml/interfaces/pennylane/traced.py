"""JAX: numbers that it follows, as arrays, and results with first derivatives only; imported where JAX is at work."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np


def is_traced(number: Any) -> bool:
    """Whether JAX follows a number."""
    import jax

    return isinstance(number, jax.core.Tracer)


def with_arrays(tape: Any) -> Any:
    """The tape with every number that JAX follows as an array of JAX's own precision.

    The framework asks these numbers for their types, which Python's have not, and takes gradients to be of the same.
    """
    import jax

    numbers = tape.get_parameters(trainable_only=False)
    kinds = {"f": np.result_type(float), "c": np.result_type(complex)}
    own = {kind: jax.dtypes.canonicalize_dtype(dtype) for kind, dtype in kinds.items()}
    changed = {
        k: jax.numpy.array(number, own[number.dtype.kind])
        for k, number in enumerate(numbers)
        if is_traced(number)
        and number.dtype.kind in own
        and (number.dtype != own[number.dtype.kind] or isinstance(getattr(number, "primal", None), float | int))
    }
    return tape.bind_new_parameters([*changed.values()], [*changed]) if changed else tape


@lru_cache(maxsize=1)
def first_only(refuse: Callable[[], Any]) -> Callable[[Any, Any], Any]:
    """A function from results and the numbers they depend on to the results; ``refuse`` raises for second derivatives.

    The first derivatives have a factor 1 that knows the numbers.
    """
    import jax

    @jax.custom_jvp  # type: ignore[untyped-decorator]
    def results_of(results: Any, _numbers: Any) -> Any:
        return results

    @jax.custom_jvp  # type: ignore[untyped-decorator]
    def one(_numbers: Any) -> float:
        return 1.0

    @results_of.defjvp  # type: ignore[untyped-decorator]
    def _slopes(primals: Any, tangents: Any) -> Any:
        factor = one(primals[1])
        return primals[0], jax.tree.map(lambda tangent: tangent * factor, tangents[0])

    @one.defjvp  # type: ignore[untyped-decorator]
    def _no_slopes(_primals: Any, _tangents: Any) -> Any:
        refuse()

    return results_of  # type: ignore[no-any-return]
