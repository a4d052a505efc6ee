"""The framework's part: which of its transforms bring a circuit into the form that the device runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pennylane as qml
from pennylane.devices import ExecutionConfig
from pennylane.devices.preprocess import (
    decompose,
    no_sampling,
    validate_device_wires,
    validate_measurements,
)
from pennylane.exceptions import DeviceError, QuantumFunctionError
from pennylane.math import Interface, is_abstract, requires_grad
from pennylane.measurements import DensityMatrixMP, ExpectationMP, StateMP
from pennylane.transforms import broadcast_expand, defer_measurements, split_to_single_terms

from ...ir.channels import MAX_CHANNEL_QUBITS
from .measurements import is_differentiable, read_by_framework
from .midcircuit import expanded, stops_decomposition
from .operations import NUMBERS_ONLY, PLAIN, holds_matrix, is_dense, is_noise, is_preparation, is_supported
from .samples import unwrapped
from .sampling import by_samples
from .second_order import is_traced, refuse_in_jax, refuse_second_derivatives
from .tapes import stacked, unchanged, wire_order


@dataclass(frozen=True)
class Kind:
    """What a device is.

    Attributes:
        name: Its name.
        mixed: Whether its states are density matrices. Circuits that measure midway are then always deferred.
    """

    name: str
    mixed: bool = False

    def is_plain(self, tape: Any) -> bool:
        """Whether the device runs all operations as they are, and none holds more than numbers."""
        return {type(op) for op in tape.operations} <= (NUMBERS_ONLY if self.mixed else PLAIN.keys())

    def is_supported(self, op: Any) -> bool:
        """Whether an operation needs no decomposition; channels never have one."""
        return (is_supported(op) and not self._is_too_wide(op)) or (self.mixed and is_noise(op))

    def _is_too_wide(self, op: Any) -> bool:
        """Whether a matrix is too wide for density matrices."""
        return self.mixed and len(op.wires) > MAX_CHANNEL_QUBITS and is_dense(op)

    def is_differentiable(self, measurement: Any) -> bool:
        """Whether the device differentiates a measurement; else the framework does, from the state."""
        return is_differentiable(measurement) or (self.mixed and isinstance(measurement, StateMP))


KEEPS_OPERATIONS = "keeps_operations"
"""Where the configuration of no circuit says that operations are to stay as they are."""


def resolved_config(config: ExecutionConfig, circuit: Any, kind: Kind) -> ExecutionConfig:
    """What the caller left to the device, filled in."""
    for option in config.device_options:
        if option != KEEPS_OPERATIONS:
            raise DeviceError(f"{kind.name} has no option {option!r}; its options are arguments of qml.device.")
    changes: dict[str, Any] = {"mcm_config": _measuring_midway(config.mcm_config, circuit, kind)}
    if circuit is None:  # nothing is executed: other transforms follow these, as those of `qml.add_noise`
        changes["device_options"] = {KEEPS_OPERATIONS: True}
    if config.gradient_method in {"adjoint", "best", "device"}:
        changes |= {"gradient_method": "adjoint", "use_device_gradient": True, **_products(config, circuit)}
    return replace(config, **changes)


def _measuring_midway(config: Any, circuit: Any, kind: Kind) -> Any:
    """How circuits that measure midway are run: on more wires, or with shots also by trajectories."""
    has_shots = circuit is not None and bool(circuit.shots)
    method, name = config.mcm_method, kind.name
    if kind.mixed:
        if method not in {None, "device", "deferred"}:
            raise DeviceError(f"mcm_method {str(method)!r} is not supported by {name}; 'deferred' is.")
        return replace(config, mcm_method="deferred")
    if method in {None, "device"}:
        method = "one-shot" if has_shots else "deferred"
    if method not in {"deferred", "one-shot", "tree-traversal"}:
        raise DeviceError(
            f"mcm_method {str(method)!r} is not supported by {name}; 'deferred' is, and with shots 'one-shot' and "
            "'tree-traversal'."
        )
    if method == "tree-traversal" and circuit is not None and not has_shots:
        raise DeviceError(f"mcm_method {str(method)!r} on {name} needs shots; without them use 'deferred'.")
    if config.postselect_mode == "fill-shots" and method != "deferred":
        raise DeviceError(
            f"postselect_mode='fill-shots' is not supported by {name}; 'hw-like' discards shots that are not selected."
        )
    return replace(config, mcm_method=method)


def _products(config: ExecutionConfig, circuit: Any) -> dict[str, Any]:
    """Whether the framework gets products with Jacobians or, for JAX if it is asked to, the Jacobians themselves."""
    is_jax = config.interface in {Interface.JAX, Interface.JAX_JIT}
    asked = bool(config.grad_on_execution)
    if config.use_device_gradient:  # the framework comes twice, and between has forgotten what it was asked
        asked = not config.use_device_jacobian_product
    if is_jax and asked and not config.use_device_jacobian_product:
        # under `jax.vmap` numbers have no values, with jit or without: only the framework's way for jit takes them
        numbers = () if circuit is None else circuit.get_parameters(trainable_only=False)
        interface = Interface.JAX_JIT if any(map(is_abstract, numbers)) else config.interface
        return {"use_device_jacobian_product": False, "convert_to_numpy": True, "interface": interface}
    # where numbers are converted, the framework's jit takes full Jacobians, which broadcasting does not have
    return {"use_device_jacobian_product": True, "grad_on_execution": False, "convert_to_numpy": not is_jax}


def pipeline(config: ExecutionConfig, wires: Any, kind: Kind, *, stacks: bool) -> Any:
    """The transforms for an execution; where operations are counted, they may not become one (``stacks``)."""
    adjoint, name = config.gradient_method == "adjoint", kind.name
    # an interface that is not known yet means that transforms follow that look at the operations
    stacks = stacks and adjoint and bool(config.use_device_jacobian_product)
    stacks = stacks and config.interface not in {Interface.NUMPY, Interface.AUTO}
    stacks = stacks and KEEPS_OPERATIONS not in config.device_options
    program = qml.CompilePipeline()
    program.add_transform(validate_measurements, name=name)
    deferred = config.mcm_config.mcm_method in {None, "deferred"}
    program.add_transform(_lower, kind, _lowering(adjoint, wires, kind, deferred=deferred))
    if not stacks:
        program.add_transform(validate_device_wires, wires, name=name)
    if kind.mixed:
        program.add_transform(_measure_densities, wires)
    program.add_transform(by_samples, config.mcm_config.postselect_mode)
    if adjoint:
        program.add_transform(no_sampling, name=f"adjoint + {name}")
        program.add_transform(_split_trained)
        program.add_transform(_read_off_states, wires, kind)
    is_jax = config.interface in {Interface.JAX, Interface.JAX_JIT}
    if adjoint and is_jax:
        program.add_transform(_with_arrays)
    if stacks:
        program.add_transform(_stack, kind)
        program.add_transform(validate_device_wires, wires, name=name)  # of one operation, which takes no time
    elif adjoint and config.interface != Interface.NUMPY:
        program.add_transform(refuse_in_jax if is_jax else _first_derivatives)
    return program


def _lowering(adjoint: bool, wires: Any, kind: Kind, *, deferred: bool) -> Any:
    """What is needed where a circuit holds more than rows of the table."""
    program = qml.CompilePipeline()
    program.add_transform(_check_channels, kind)
    if deferred:
        program.add_transform(defer_measurements, allow_postselect=False)
    else:
        program.add_transform(expanded)
    program.add_transform(_expand_matrices)
    program.add_transform(
        decompose,
        stopping_condition=partial(_stops, kind, adjoint=adjoint),
        skip_initial_state_prep=True,
        device_wires=wires,
        name=kind.name,
    )
    return program


@qml.transform  # type: ignore[untyped-decorator]
def _lower(tape: Any, kind: Kind, program: Any) -> Any:
    """Circuits of rows of the table, as most are after the first step, stay as they are."""
    if kind.is_plain(tape):
        return unchanged(tape)
    tapes, process = program((tape,))
    return tapes, lambda results: process(results)[0]


def _stops(kind: Kind, op: Any, *, adjoint: bool) -> bool:
    if not adjoint:
        return kind.is_supported(op) if kind.mixed else stops_decomposition(op)
    if holds_matrix(op) and not is_noise(op) and any(requires_grad(number) for number in op.data):
        return False
    return kind.is_supported(op)


@qml.transform  # type: ignore[untyped-decorator]
def _check_channels(tape: Any, kind: Kind) -> Any:
    """Refuse channels on pure states, and Kraus operators or density matrices that are trained."""
    for op in tape.operations:
        if is_noise(op) and not kind.mixed:
            raise DeviceError(f"{op.name} makes mixed states, which {kind.name} has not; fusedqml.mixed has.")
        if is_noise(op) and holds_matrix(op) and any(map(_is_trained, op.data)):
            raise QuantumFunctionError(
                f"The gradient with respect to the matrices of {op.name} is not supported. Make them non-trainable, "
                "use a channel with parameters, or default.mixed."
            )
    return unchanged(tape)


@qml.transform  # type: ignore[untyped-decorator]
def _measure_densities(tape: Any, wires: Any) -> Any:
    """States as the density matrices that they are here, by a measurement that has their shape."""
    if not any(type(m) is StateMP for m in tape.measurements):
        return unchanged(tape)
    order = wire_order(tape.operations, tape.measurements, None if wires is None else wires.labels)
    measured = [
        DensityMatrixMP(wires=qml.wires.Wires(m.wires.labels or order)) if type(m) is StateMP else m
        for m in tape.measurements
    ]
    return unchanged(tape.copy(measurements=measured))


@qml.transform  # type: ignore[untyped-decorator]
def _expand_matrices(tape: Any) -> Any:
    """Circuits with matrices that differ from sample to sample, which no program can hold, sample by sample."""
    if any(holds_matrix(op) and op.batch_size is not None for op in tape.operations):
        return broadcast_expand(tape)
    return unchanged(tape)


@qml.transform  # type: ignore[untyped-decorator]
def _stack(tape: Any, kind: Kind) -> Any:
    """All operations as one, unless the numbers of a matrix are not there yet; results have first derivatives only."""
    others: list[int] = []
    batch_size, position = None, 0
    for op in () if kind.is_plain(tape) else tape.operations:
        if holds_matrix(op) or is_preparation(op):
            if holds_matrix(op) and qml.math.get_interface(*op.data) == "jax":
                return unchanged(tape)
            others += range(position, position + len(op.data))
            batch_size = batch_size or op.batch_size
        position += len(op.data)
    return refuse_second_derivatives(stacked(tape, others, batch_size))


@qml.transform  # type: ignore[untyped-decorator]
def _split_trained(tape: Any) -> Any:
    """Expectation values of observables with trained coefficients, term by term: the framework adds them up."""
    trained = [m for m in tape.measurements if m.obs is not None and any(map(_is_trained, m.obs.data))]
    if not trained:
        return unchanged(tape)
    for m in trained:
        if not isinstance(m, ExpectationMP) or not isinstance(m.obs, _SUMS):
            raise QuantumFunctionError(
                f"The gradient with respect to the numbers in {m} is not supported; only the coefficients of sums in "
                "expectation values are trainable. Make the numbers non-trainable, or use default.qubit."
            )
    return split_to_single_terms(tape)


def _is_trained(number: Any) -> bool:
    """Whether a gradient flows to a number; a PennyLane tensor by itself only could be trained."""
    return requires_grad(number) and not isinstance(number, qml.numpy.tensor)


_SUMS = (qml.ops.Sum, qml.ops.SProd, qml.ops.LinearCombination)


@qml.transform  # type: ignore[untyped-decorator]
def _read_off_states(tape: Any, wires: Any, kind: Kind) -> Any:
    """What the device cannot differentiate is read off the state by the framework, which differentiates that."""
    is_own = {id(m): kind.is_differentiable(m) for m in tape.measurements}
    own = [m for m in tape.measurements if is_own[id(m)]]
    if len(own) == len(tape.measurements):
        return unchanged(tape)
    given = wire_order(tape.operations, tape.measurements, None if wires is None else wires.labels)
    of_state = [m.wires.labels or given for m in tape.measurements if not is_own[id(m)]]
    acted = [] if kind.mixed else [op.wires.labels for op in tape.operations]
    needed = {wire for labels in [*acted, *of_state] for wire in labels}
    order = [wire for wire in given if wire in needed]
    state_tape = tape.copy(
        measurements=[*own, (DensityMatrixMP if kind.mixed else StateMP)(wires=qml.wires.Wires(order))]
    )

    def read_off(results: Any) -> Any:
        *others, state = results[0] if own else (results[0],)
        parts: Iterator[Any] = iter(others)
        return unwrapped(
            [
                next(parts) if is_own[id(m)] else read_by_framework(m, state, order, mixed=kind.mixed)
                for m in tape.measurements
            ]
        )

    return (state_tape,), read_off


@qml.transform  # type: ignore[untyped-decorator]
def _with_arrays(tape: Any) -> Any:
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
    return unchanged(tape.bind_new_parameters([*changed.values()], [*changed]) if changed else tape)


_first_derivatives = qml.transform(refuse_second_derivatives)
