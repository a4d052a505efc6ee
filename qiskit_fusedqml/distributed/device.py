"""`DistributedDevice`: one state over 2**g ranks, each of which runs its part on a device of its own.

Every method is called by all ranks with the same arguments, and gives all of them the same results, to the bit. A call
begins with a comparison of what the ranks were asked for, and each step ends with a status word (`agreement`), so that
an error on one rank is an error on all. Between the stages of a tape amplitudes are exchanged (`layouts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ..devices import Device, SamplingDevice, State, holds_parts
from ..devices.checks import check_initial_state, check_qubits, empty_batch
from ..devices.observables import ObservableCache
from ..devices.own_memory import has_memory
from ..errors import DeviceUnavailableError, InvalidInputError, OutOfMemoryError
from ..ir.observables import PauliSum
from ..memory import format_bytes
from ..planner.frame import Frame
from ..planner.tape import Tape
from .agreement import digest
from .communicators import Communicator, communicator
from .layouts import Exchange, Layout
from .local_tapes import LocalRun, local_run, start_layout
from .observables import RankObservables, Visit
from .ranks import PIECE_BYTES, Ranks
from .readout import local_marginal, logical_addresses, outcomes_of, own_outcomes, rank_outcome, sampling_space

TABLE_QUBITS = 16
"""Outcomes of up to so many qubits are drawn from a table of all probabilities on every rank."""

COEFFICIENTS = ("pairs", "batched_pairs", "matrices", "batched_matrices", "angles", "batched_angles", "scales")


class DistributedState:
    """A rank's part of B states.

    Attributes:
        tape: The tape it was made for.
        batch: Number of states B.
        layout: Where amplitudes lie.
        part: The inner device's state of 2**l amplitudes each; None until it is needed.
        given: The amplitudes (2**n,) or (B, 2**n) it starts from, until it is placed in a layout.
    """

    def __init__(
        self, tape: Tape, batch: int, layout: Layout, part: State = None, given: NDArray[Any] | None = None
    ) -> None:
        self.tape, self.batch, self.layout, self.part, self.given = tape, batch, layout, part, given

    @property
    def num_qubits(self) -> int:
        """Number of qubits n of the whole state."""
        return self.layout.num_qubits


class DistributedDevice(Device, SamplingDevice):
    """Runs tapes on states of n qubits that 2**g ranks share; see the module.

    Args:
        inner: The device that runs each rank's part of n - g qubits.
        comm: What connects the ranks (`communicators.communicator`); a power of two of them.
        comm_timeout: Seconds that a rank waits for another at most.

    Attributes:
        inner: The inner device.
        comm: The communicator.
        ranks: What is said to the others, with counts of what was sent.

    Raises:
        InvalidInputError: If the number of ranks is not a power of two, or ``comm`` is no communicator.
        DeviceUnavailableError: If the inner device cannot hold parts of states.
        RankMismatchError: If the ranks' devices differ.
    """

    def __init__(self, inner: Device, comm: Any, comm_timeout: float = 600.0) -> None:
        self.comm: Communicator = communicator(comm, comm_timeout)
        size = self.comm.size
        if size & size - 1:
            fewer = 1 << size.bit_length() - 1
            raise InvalidInputError(
                f"{size} ranks were given for one state; a power of two is needed. Start {fewer} or {2 * fewer} of "
                "them, or split the communicator."
            )
        if not holds_parts(inner):
            raise DeviceUnavailableError(f"The device {inner.name} cannot hold a rank's part of a state.")
        self.inner: Any = inner
        self.name, self.coefficient_map = inner.name, inner.coefficient_map
        self.cost_model = replace(inner.cost_model, global_qubits=size.bit_length() - 1)
        self.ranks = Ranks(self.comm, inner, self.cost_model.amplitude_bytes)
        self._runs: WeakKeyDictionary[Tape, list[LocalRun]] = WeakKeyDictionary()
        self._digests: WeakKeyDictionary[Tape, str] = WeakKeyDictionary()
        self._observables = ObservableCache(partial(RankObservables, self.comm.rank))
        with self.ranks.call("make the device", inner.name, repr(self.cost_model)):
            self._budget = self.ranks.common_budget(inner.memory_budget(), of_machine=not has_memory(inner))

    @override
    def allocate(self, tape: Tape, batch: int, initial_state: NDArray[np.complex128] | None) -> DistributedState:
        if batch < 1:
            raise empty_batch(batch)
        numbers = () if initial_state is None else (initial_state,)
        with self.ranks.call("allocate", self._digest(tape), str(batch), numbers=numbers):
            model = self.cost_model
            state = DistributedState(tape, batch, start_layout(tape, model.global_qubits, model.fold_bits))
            if initial_state is None:
                self.ranks.step(partial(self._make_part, state, zero=self.comm.rank > 0))
            else:
                check_initial_state(initial_state, tape.num_qubits, batch)
                state.given = np.array(initial_state, dtype=np.complex128)
            return state

    @override
    def copy(self, state: DistributedState) -> DistributedState:
        with self.ranks.call("copy", *_shape(state)):
            part = None if state.part is None else self.ranks.step(partial(self.inner.copy, state.part))
        return DistributedState(state.tape, state.batch, state.layout, part, state.given)

    @override
    def forward(self, tape: Tape, coefficients: Any, ket: DistributedState) -> None:
        with self.ranks.call("forward", self._digest(tape), *_shape(ket), numbers=_numbers(coefficients)):
            self._place(ket)
            for stage in self._run_from(tape, ket.layout).stages:
                self._exchange(stage.exchange, ket)
                self.ranks.step(partial(self.inner.forward, stage.tape, coefficients, ket.part))

    @override
    def backward(
        self, tape: Tape, coefficients: Any, ket: DistributedState, bra: DistributedState, *, per_sample: bool
    ) -> NDArray[np.float64]:
        shape = (*_shape(ket), *_shape(bra), str(per_sample))
        with self.ranks.call("backward", self._digest(tape), *shape, numbers=_numbers(coefficients)):
            run = self._run_to(tape, ket)
            self._place(ket, run.end)
            self._place(bra, ket.layout)
            if (ket.batch, ket.layout) != (bra.batch, bra.layout):
                raise InvalidInputError("The ket and the bra differ in shape or layout.")
            overlaps = np.zeros((ket.batch, tape.num_overlaps) if per_sample else tape.num_overlaps)
            first = next((k for k, stage in enumerate(run.stages) if stage.undone), len(run.stages))
            for k in range(len(run.stages) - 1, first - 1, -1):
                stage = run.stages[k]
                if stage.undone:
                    undo = partial(self.inner.backward, per_sample=per_sample)
                    overlaps += self.ranks.step(partial(undo, stage.tape, coefficients, ket.part, bra.part))
                if k > first or k == 0:
                    self._exchange(stage.exchange, ket, bra, back=True)
            return self.ranks.summed(overlaps)

    @override
    def expectation(self, ket: DistributedState, frame: Frame, sums: Sequence[PauliSum]) -> NDArray[np.float64]:
        form: RankObservables = self._observables.form(frame, sums)
        with self.ranks.call("expectation", form.digest, *_shape(ket)):
            self._place(ket)
            values = np.zeros((ket.batch, len(sums)))
            visits = form.visits(ket.layout)
            for visit in visits:
                self._exchange(visit.exchange, ket)
                values[:, visit.numbers] += self.ranks.step(partial(self._values, ket, visit))
            for visit in reversed(visits):
                self._exchange(visit.exchange, ket, back=True)
            return self.ranks.summed(values)

    @override
    def apply_observables(
        self, ket: DistributedState, frame: Frame, sums: Sequence[PauliSum], cotangents: NDArray[np.float64]
    ) -> DistributedState:
        form: RankObservables = self._observables.form(frame, sums)
        with self.ranks.call("apply_observables", form.digest, *_shape(ket), numbers=(cotangents,)):
            self._place(ket)
            if np.shape(cotangents) != (ket.batch, len(sums)):
                raise InvalidInputError("Cotangents must have shape (B, n_obs).")
            bra = DistributedState(ket.tape, ket.batch, ket.layout)
            visits = form.visits(ket.layout)
            for visit in visits:
                self._exchange(visit.exchange, ket, bra)
                if visit.has_terms or visit is visits[-1]:
                    self.ranks.step(partial(self._add_image, ket, bra, visit, cotangents))
            for visit in reversed(visits):
                self._exchange(visit.exchange, ket, bra, back=True)
            return bra

    @override
    def amplitudes(self, ket: DistributedState, frame: Frame) -> NDArray[np.complex128] | NDArray[np.complex64]:
        n, size = ket.num_qubits, self.cost_model.amplitude_bytes
        if size * ket.batch << n > self._budget:
            raise OutOfMemoryError(
                f"All amplitudes of {n} qubits need {format_bytes(size * ket.batch << n)} on each rank; "
                f"{format_bytes(self._budget)} are allowed. local_amplitudes gives those of a rank."
            )
        with self.ranks.call("amplitudes", repr(frame), *_shape(ket)):
            own = self._own_amplitudes(ket)
            result = np.empty((ket.batch, 1 << n), own.dtype)
            indices = [logical_addresses(ket.layout, frame, rank) for rank in range(self.comm.size)]
            addresses = Frame(indices[0].columns, (), 0).indices()
            count = max(1, PIECE_BYTES // (size * ket.batch))
            for first in range(0, own.shape[1], count):
                found = self.ranks.gathered(own[:, first : first + count])
                for each, part in zip(indices, found, strict=True):
                    result[:, addresses[first : first + count] ^ each.offset] = part
            return result

    def local_amplitudes(self, ket: DistributedState, frame: Frame) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """The logical indices (2**l,) of this rank's amplitudes, and these (B, 2**l)."""
        with self.ranks.call("local_amplitudes", repr(frame), *_shape(ket)):
            own = self._own_amplitudes(ket)
        return logical_addresses(ket.layout, frame, self.comm.rank).indices(), own

    @override
    def probabilities(self, ket: DistributedState, frame: Frame, qubits: Sequence[int]) -> NDArray[np.float64]:
        check_qubits(qubits, ket.num_qubits)
        with self.ranks.call("probabilities", repr(frame), str(list(qubits)), *_shape(ket)):
            self._place(ket)
            return self.ranks.summed(self.ranks.step(partial(self._marginal, ket, frame, qubits)))

    @override
    def sample(
        self,
        ket: DistributedState,
        frame: Frame,
        qubits: Sequence[int],
        shots: int,
        keys: NDArray[np.uint64],
        states: NDArray[np.integer] | None = None,
    ) -> NDArray[np.int64]:
        drawn = np.arange(ket.batch) if states is None else np.asarray(states)
        low = len(qubits) - self.cost_model.global_qubits
        if len(qubits) <= TABLE_QUBITS or low < 0:
            return outcomes_of(self.probabilities(ket, frame, qubits), shots, keys, drawn)
        check_qubits(qubits, ket.num_qubits)
        with self.ranks.call("sample", repr(frame), str((list(qubits), shots)), *_shape(ket), numbers=(keys, drawn)):
            self._place(ket)
            # afterwards a rank holds all outcomes with certain values of the highest qubits
            exchange = ket.layout.exchange_to(sampling_space(frame, qubits[low:]))
            self._exchange(exchange, ket)
            table = self.ranks.step(partial(self._marginal, ket, frame, qubits[:low]))
            order = np.argsort([rank_outcome(ket.layout, frame, qubits[low:], rank) for rank in range(self.comm.size)])
            self._exchange(exchange, ket, back=True)
            totals = self.ranks.gathered(table.sum(axis=1))[order]
            place = int(np.flatnonzero(order == self.comm.rank)[0])
            found, is_own = own_outcomes(table, totals, place, shots, keys, drawn)
            shares = self.ranks.gathered(np.where(is_own, found | place << low, 0))
            outcomes: NDArray[np.int64] = shares.sum(axis=0)
            return outcomes

    @override
    def state_bytes(self, num_qubits: int, batch: int) -> int:
        """Bytes of a rank's part of B states."""
        found: int = self.inner.state_bytes(max(num_qubits - self.cost_model.global_qubits, 0), batch)
        return found

    @override
    def memory_budget(self) -> int:
        """Bytes that the states of one rank may take, the same number on all of them."""
        return self._budget

    def __copy__(self) -> DistributedDevice:
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        return other

    def __deepcopy__(self, memo: Any) -> DistributedDevice:
        return self  # the ranks are what they are

    def __reduce__(self) -> NoReturn:
        raise InvalidInputError(
            "What several ranks share cannot be pickled: its communicator belongs to this process. Make the circuit on "
            "every rank."
        )

    def agreed(self, number: int) -> int:
        """The number of rank 0, such as the seed of what is random."""
        with self.ranks.call("agree"):
            return int(self.ranks.gathered(np.array([number], np.int64))[0, 0])

    def _digest(self, tape: Tape) -> str:
        found = self._digests.get(tape)
        if found is None:
            parts = (str(tape.num_qubits), repr(tape.blocks), repr(tape.stages), repr(tape.frame))
            found = self._digests[tape] = digest(parts).hex()
        return found

    def _run_from(self, tape: Tape, layout: Layout) -> LocalRun:
        runs = self._runs.setdefault(tape, [])
        for run in runs:
            if run.start == layout:
                return run
        runs.append(local_run(tape, layout, self.comm.rank))
        return runs[-1]

    def _run_to(self, tape: Tape, ket: DistributedState) -> LocalRun:
        """The run that has ended where the ket is."""
        for run in self._runs.get(tape, ()):
            if run.end == ket.layout and ket.given is None:
                return run
        model = self.cost_model
        run = self._run_from(tape, start_layout(tape, model.global_qubits, model.fold_bits))
        return run if ket.given is not None or run.end == ket.layout else self._run_from(tape, ket.layout)

    def _place(self, state: DistributedState, layout: Layout | None = None) -> None:
        """Take amplitudes that were given into a layout, by default the state's."""
        if state.given is None:
            return
        state.layout = layout or state.layout
        own = state.layout.indices(self.comm.rank).indices()
        self.ranks.step(partial(self._make_part, state, own=state.given[..., own]))
        state.given = None

    def _make_part(
        self, state: DistributedState, own: NDArray[np.complex128] | None = None, *, zero: bool = False
    ) -> None:
        num_local = state.layout.num_local
        # of the tape, devices read its sizes
        sizes = replace(state.tape, num_qubits=num_local, frame=Frame.identity(num_local))
        state.part = self.inner.allocate(sizes, state.batch, own)
        if zero:
            self.inner.clear(state.part)

    def _exchange(self, exchange: Exchange | None, *states: DistributedState, back: bool = False) -> None:
        if exchange is None:
            return
        self.ranks.exchange(exchange, [state.part for state in states if state.part is not None], states[0].batch)
        for state in states:
            state.layout = exchange.before if back else exchange.after

    def _values(self, ket: DistributedState, visit: Visit) -> Any:
        if not visit.sums:
            return 0.0
        return self.inner.expectation(ket.part, Frame.identity(ket.layout.num_local), visit.sums)

    def _add_image(self, ket: DistributedState, bra: DistributedState, visit: Visit, cotangents: Any) -> None:
        if not visit.sums:
            if bra.part is None:
                self._make_part(bra, zero=True)
            return
        identity, weights = Frame.identity(ket.layout.num_local), cotangents[:, visit.numbers]
        image = self.inner.apply_observables(ket.part, identity, visit.sums, weights)
        if bra.part is None:
            bra.part = image
        else:
            self.inner.add(bra.part, image)

    def _own_amplitudes(self, ket: DistributedState) -> Any:
        self._place(ket)
        return self.ranks.step(partial(self.inner.amplitudes, ket.part, Frame.identity(ket.layout.num_local)))

    def _marginal(self, ket: DistributedState, frame: Frame, qubits: Sequence[int]) -> NDArray[np.float64]:
        return local_marginal(self.inner, ket.part, ket.layout, frame, qubits, self.comm.rank)


def _shape(state: DistributedState) -> tuple[str, ...]:
    return str(state.batch), repr(state.layout)


def _numbers(coefficients: Any) -> list[Any]:
    return [*(getattr(coefficients, name) for name in COEFFICIENTS), *coefficients.dense]
