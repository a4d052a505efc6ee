"""Work spread over processes or machines, through any executor of `concurrent.futures`' kind.

`ExecutorTasks` gives the results of tasks in the order of the tasks, or raises: a sum is never made of some of them.
`ShardedCircuit` has the methods of `ProgramFunction` and cuts the samples of a batch into shards.
"""

from __future__ import annotations

import hashlib
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import real_array, shown, whole_number
from ..engine.parameters import Loss, checked_arrays, evaluated_loss
from ..engine.program_function import Cotangents, ProgramFunction
from ..errors import InvalidInputError, WorkerError
from ..memory import BoundedCache

Array: TypeAlias = NDArray[np.floating]
Result = TypeVar("Result")

MAX_PROGRAMS = 8
"""Programs that a worker keeps."""

_programs: BoundedCache[str, ProgramFunction] = BoundedCache(MAX_PROGRAMS)
_programs_lock = threading.Lock()


class ExecutorTasks(Generic[Result]):
    """A function called with every tuple of arguments, by an executor that has begun.

    Args:
        executor: Where it is called.
        function: One that can be pickled, if the executor needs that.
        tasks: The arguments.

    Raises:
        WorkerError: If the executor takes no tasks.
    """

    def __init__(self, executor: Executor, function: Callable[..., Result], tasks: Sequence[tuple[Any, ...]]) -> None:
        self._name = type(executor).__name__
        self._futures: list[Future[tuple[Result, Exception | None]]] = []
        try:
            for task in tasks:
                self._futures.append(executor.submit(_attempt, function, *task))
        except Exception as error:
            self.cancel()
            raise self._lost(error) from error

    def results(self, timeout: float | None = None) -> list[Result]:
        """The results in the order of the tasks.

        Args:
            timeout: Seconds to wait at most; None for as long as it takes.

        Raises:
            WorkerError: If a result did not come back: a worker has died, or the executor is shut down.
            TimeoutError: If the time is over; the tasks go on.
            Exception: What the function raised in the first task, by order, that it raised anything in.
        """
        end = None if timeout is None else time.monotonic() + timeout
        try:
            outcomes = [
                future.result(None if end is None else max(0.0, end - time.monotonic())) for future in self._futures
            ]
        except TimeoutError:
            raise
        except Exception as error:
            # `_attempt` raises nothing: this is the executor's own trouble, and there is no common name for it
            self.cancel()
            raise self._lost(error) from error
        except BaseException:
            self.cancel()  # Ctrl-C
            raise
        for _, raised in outcomes:
            if raised is not None:
                raise raised
        return [result for result, _ in outcomes]

    def done(self) -> bool:
        """Whether all tasks have ended, in whatever way."""
        return all(future.done() for future in self._futures)

    def cancel(self) -> bool:
        """Take back what has not begun; whether that was everything."""
        taken = [future.cancel() for future in self._futures]  # all of them, whatever the first one says
        return all(taken)

    def cancelled(self) -> bool:
        """Whether any task was taken back."""
        return any(future.cancelled() for future in self._futures)

    def _lost(self, error: Exception) -> WorkerError:
        return WorkerError(
            f"An executor ({self._name}) lost a part of a job: {type(error).__name__}: {error}. A worker was killed, "
            "ran out of memory or cannot import what the job needs, or the executor is shut down; nothing was computed "
            "from the other parts. Start a new executor and repeat the call."
        )


def _attempt(function: Callable[..., Any], *task: Any) -> tuple[Any, Exception | None]:
    try:
        return function(*task), None
    except Exception as error:  # noqa: BLE001 (raised by `ExecutorTasks.results`)
        return None, error


class ShardedCircuit:
    """A `DifferentiableCircuit` whose batches are cut into shards that an executor's workers compute.

    Shards are runs of neighbouring samples, of sizes that differ by one at most. Their results are joined, and their
    weight gradients added up, in the order of the samples: for the same number of shards the answer is the same, bit
    for bit, whichever worker was first. If a worker is lost, the call raises or, where the executor repeats the work,
    as Dask does, returns the same answer.

    Workers keep the circuit and its plans from call to call; it is sent only to those that do not have it. Give each
    worker its share of the cores by the circuit's ``num_threads``.

    >>> f = DifferentiableCircuit(circuit, ["ZI", "IZ"], inputs=x_parameters, num_threads=1)
    >>> with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as executor:
    ...     g = ShardedCircuit(f, executor, shards=4)
    ...     values, dx, dw = g.value_and_vjp(x, w, cotangents)

    Args:
        function: The circuit (or a `ProgramFunction`); it must be possible to pickle it.
        executor: Anything with the interface of `concurrent.futures.Executor`: a process pool, ``mpi4py.futures``,
            ``dask.distributed.Client.get_executor()``.
        shards: Number of shards; with fewer samples than shards each has one sample.

    Attributes:
        function: The circuit.
        num_qubits: Number of qubits n.
        num_inputs: Number of inputs.
        num_weights: Number of weights.

    Raises:
        InvalidInputError: If ``shards`` is no positive integer, ``executor`` is no executor, or the program holds an
            initial state for every sample.
    """

    def __init__(self, function: ProgramFunction, executor: Executor, *, shards: int) -> None:
        if not isinstance(function, ProgramFunction):
            raise InvalidInputError(f"function is {shown(function)}; a DifferentiableCircuit is expected.")
        shards = whole_number(shards, "shards", least=1)
        check_executor(executor)
        state = function.program.initial_state
        if state is not None and state.ndim == 2:
            raise InvalidInputError(
                "The program holds an initial state for every row, which cannot be cut into shards."
            )
        self.function, self.executor, self.shards = function, executor, shards
        self.num_qubits, self.num_inputs = function.num_qubits, function.num_inputs
        self.num_weights = function.num_weights
        self._payload = pickle.dumps(function)
        self._key = hashlib.sha256(self._payload).hexdigest()
        self._sent = False

    def __copy__(self) -> ShardedCircuit:
        return type(self)(self.function, self.executor, shards=self.shards)

    def __getstate__(self) -> dict[str, Any]:
        """For pickles, of those executors that can be pickled.

        Raises:
            InvalidInputError: If the executor cannot be.
        """
        try:
            pickle.dumps(self.executor)
        except Exception as error:
            raise InvalidInputError(
                f"A ShardedCircuit cannot be pickled with its executor, a {type(self.executor).__name__}: its workers "
                "belong to this process. Pickle its function, and make a ShardedCircuit of it with another executor."
            ) from error
        return vars(self)

    def values(self, x: ArrayLike | None = None, w: ArrayLike | None = None) -> Array:
        """Expectation values (B, n_obs), as of `ProgramFunction.values`."""
        return np.concatenate(self._parts("values", *self._checked(x, w)))

    def jacobian(
        self, x: ArrayLike | None = None, w: ArrayLike | None = None, wrt: str | Sequence[Any] = "weights"
    ) -> Array:
        """Derivatives (B, n_obs, n), as of `ProgramFunction.jacobian`."""
        return np.concatenate(self._parts("jacobian", *self._checked(x, w), wrt))

    def probabilities(self, x: ArrayLike | None = None, w: ArrayLike | None = None) -> Array:
        """Probabilities (B, 2**num_clbits), as of `ProgramFunction.probabilities`."""
        return np.concatenate(self._parts("probabilities", *self._checked(x, w)))

    def vjp(
        self, x: ArrayLike | None = None, w: ArrayLike | None = None
    ) -> tuple[Array, Callable[[ArrayLike], tuple[Array | None, Array]]]:
        """Values and a function from cotangents (B, n_obs) to (dx, dw), as of `ProgramFunction.vjp`.

        Final states are not held by the workers; the pullback computes them again.
        """
        samples = self._checked(x, w)
        values = np.concatenate(self._parts("values", *samples))

        def pullback(cotangents: ArrayLike) -> tuple[Array | None, Array]:
            return self.value_and_vjp(*samples, cotangents)[1:]

        return values, pullback

    def value_and_vjp(
        self, x: ArrayLike | None, w: ArrayLike | None, cotangents: Cotangents
    ) -> tuple[Array, Array | None, Array]:
        """(values, dx, dw) as of `ProgramFunction.value_and_vjp`.

        With cotangents given as an array all is done in one round; a function of the values takes a round for these.
        """
        x, w = self._checked(x, w)
        if callable(cotangents):
            cotangents = cotangents(np.concatenate(self._parts("values", x, w)))
        parts = self._parts("value_and_vjp", x, w, cotangents=real_array(cotangents, "cotangents"))
        values = np.concatenate([part[0] for part in parts])
        inputs = np.concatenate([part[1] for part in parts]) if self.function.input_gradients else None
        gradients = [part[2] for part in parts]
        if w.ndim == 2:
            return values, inputs, np.concatenate(gradients)
        total = gradients[0].astype(np.float64)
        for gradient in gradients[1:]:  # in the order of the samples
            total += gradient
        return values, inputs, total.astype(gradients[0].dtype, copy=False)

    def value_and_grad(
        self, x: ArrayLike | None = None, w: ArrayLike | None = None, loss: Loss | None = None
    ) -> tuple[float, Array]:
        """The loss and its gradient with respect to the weights, as of `ProgramFunction.value_and_grad`."""
        values, pullback = self.vjp(x, w)
        scalar, cotangents = evaluated_loss(loss, values)
        return scalar, pullback(cotangents)[1]

    def _checked(self, x: ArrayLike | None, w: ArrayLike | None) -> tuple[Array | None, Array]:
        """Checked, and copied, as by the circuit itself."""
        return checked_arrays(x, w, self.num_inputs, self.num_weights)

    def _parts(self, method: str, x: Array | None, w: Array, *more: Any, cotangents: Array | None = None) -> list[Any]:
        """A method's results, shard by shard."""
        batch = max(1 if x is None else len(x), len(w) if w.ndim == 2 else 1)
        if cotangents is not None and (cotangents.ndim != 2 or len(cotangents) != batch):
            raise InvalidInputError(f"Cotangents have shape {cotangents.shape}; ({batch}, observables) is expected.")
        tasks: list[tuple[Any, ...]] = []
        for part in _shards(batch, self.shards):
            own = () if cotangents is None else (cotangents[part],)
            tasks.append((method, None if x is None else x[part], w if w.ndim == 1 else w[part], *own, *more))
        payload = None if self._sent else self._payload
        results = ExecutorTasks(self.executor, _work, [(self._key, payload, *task) for task in tasks]).results()
        unknown = [k for k, result in enumerate(results) if result is None]
        if unknown:  # workers that have not seen the program yet, or no longer know it
            again = [(self._key, self._payload, *tasks[k]) for k in unknown]
            for k, result in zip(unknown, ExecutorTasks(self.executor, _work, again).results(), strict=True):
                results[k] = result
        self._sent = True
        return results


def check_executor(executor: Any) -> None:
    """Refuse what has no ``submit``.

    Raises:
        InvalidInputError: The message says what is expected.
    """
    methods = (getattr(executor, name, None) for name in ("submit", "shutdown"))
    if isinstance(executor, type) or not all(callable(method) for method in methods):
        raise InvalidInputError(
            f"executor is a {type(executor).__name__}; one with the interface of concurrent.futures.Executor is "
            "expected, such as ProcessPoolExecutor() or Dask's client.get_executor()."
        )


def _shards(batch: int, shards: int) -> Iterator[slice]:
    count = min(batch, shards)
    for k in range(count):
        yield slice(batch * k // count, batch * (k + 1) // count)


def _work(key: str, payload: bytes | None, method: str, *arguments: Any) -> Any:
    """In a worker: a method of a program; None if the program is not known and was not sent."""
    with _programs_lock:
        program = _programs.find(key)
        if program is None:
            if payload is None:
                return None
            program = _programs.put(key, pickle.loads(payload))  # noqa: S301 (the caller's own)
    return getattr(program, method)(*arguments)
