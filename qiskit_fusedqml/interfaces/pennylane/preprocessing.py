"""The framework's part: which of its transforms bring a circuit into the form that the device runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pennylane as qml
from pennylane.devices import ExecutionConfig
from pennylane.devices.preprocess import (
    decompose,
    no_sampling,
    validate_device_wires,
    validate_measurements,
)
from pennylane.exceptions import DeviceError, QuantumFunctionError
from pennylane.math import Interface, requires_grad
from pennylane.measurements import ExpectationMP
from pennylane.operation import StatePrepBase
from pennylane.ops import Conditional, MidMeasure
from pennylane.transforms import broadcast_expand, defer_measurements, split_non_commuting, split_to_single_terms

from .circuits import (
    is_batched_constant,
    is_supported,
    read_operations,
    wire_order,
)
from .measurements import is_differentiable
from .midcircuit import (
    by_samples,
    conditions_inside,
    is_dynamic,
    measures_midway,
)
from .operations import PLAIN, holds_matrix, identity
from .whole import joined

_OWN = {"adjoint", "best", "device"}


def resolved_config(config: ExecutionConfig, circuit: Any, name: str) -> ExecutionConfig:
    """What the caller left to the device, filled in."""
    for option in config.device_options:
        raise DeviceError(f"{name} has no option {option!r}; its options are arguments of qml.device.")
    changes: dict[str, Any] = {"mcm_config": _measuring_midway(config.mcm_config, circuit, name)}
    if config.gradient_method in _OWN:
        changes |= {"gradient_method": "adjoint", "use_device_gradient": True, **_products(config)}
    return replace(config, **changes)


def _measuring_midway(config: Any, circuit: Any, name: str) -> Any:
    """How circuits that measure midway are run: on more wires, or with shots also by trajectories."""
    has_shots = circuit is not None and bool(circuit.shots)
    method = config.mcm_method
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


def _products(config: ExecutionConfig) -> dict[str, Any]:
    """Whether the framework gets products with Jacobians or, for JAX if it is asked to, the Jacobians themselves."""
    is_jax = config.interface in {Interface.JAX, Interface.JAX_JIT}
    asked = bool(config.grad_on_execution)
    if config.use_device_gradient:  # the framework comes twice, and between has forgotten what it was asked
        asked = not config.use_device_jacobian_product
    if is_jax and asked and not config.use_device_jacobian_product:
        return {"use_device_jacobian_product": False, "convert_to_numpy": True}
    # where numbers are converted, the framework's jit takes full Jacobians, which broadcasting does not have
    return {"use_device_jacobian_product": True, "grad_on_execution": False, "convert_to_numpy": not is_jax}


def pipeline(config: ExecutionConfig, wires: Any, name: str, *, joins: bool) -> Any:
    """The transforms for an execution.

    Args:
        config: The execution's configuration.
        wires: The device's wires, or None.
        name: The device's name, for messages.
        joins: Whether the operations may become one; whoever counts them wants to see them.
    """
    adjoint = config.gradient_method == "adjoint"
    program = qml.CompilePipeline()
    program.add_transform(validate_measurements, name=name)
    deferred = config.mcm_config.mcm_method in {None, "deferred"}
    program.add_transform(_LOWER, _lowering(adjoint, wires, name, deferred=deferred))
    joins = joins and adjoint and bool(config.use_device_jacobian_product) and config.interface is not Interface.NUMPY
    if not joins:
        program.add_transform(validate_device_wires, wires, name=name)
    program.add_transform(_SAMPLE, config.mcm_config.postselect_mode)
    if adjoint:
        program.add_transform(no_sampling, name=f"adjoint + {name}")
        program.add_transform(_SPLIT_TRAINED)
        program.add_transform(_READ_OFF_STATES, wires)
    if joins:
        program.add_transform(_JOIN)
        program.add_transform(validate_device_wires, wires, name=name)  # of one operation, which takes no time
    return program


def _lowering(adjoint: bool, wires: Any, name: str, *, deferred: bool) -> Any:
    """What is needed where a circuit holds more than rows of the table."""
    program = qml.CompilePipeline()
    if deferred:
        program.add_transform(defer_measurements, allow_postselect=False)
    else:
        program.add_transform(_EXPAND_MIDWAY)
    program.add_transform(_EXPAND_MATRICES)
    program.add_transform(
        decompose,
        stopping_condition=_stops_adjoint if adjoint else _stops,
        skip_initial_state_prep=True,
        device_wires=wires,
        name=name,
    )
    return program


def _stops(op: Any) -> bool:
    return is_supported(op) if not isinstance(op, MidMeasure | Conditional) else is_dynamic(op)


def _expand_midway(tape: Any) -> Any:
    """Circuits that measure midway, sample by sample and without conditions on what is not supported."""
    if not measures_midway(tape):
        return (tape,), _first
    tape = tape.copy(operations=conditions_inside(tape.operations))
    return ((tape,), _first) if tape.batch_size is None else broadcast_expand(tape)


def _lower(tape: Any, program: Any) -> Any:
    """Circuits of rows of the table, as most are after the first step, stay as they are."""
    if {type(op) for op in tape.operations} <= PLAIN.keys():
        return (tape,), _first
    return _through(program, tape)


def _join(tape: Any) -> Any:
    """All operations as one, unless the numbers of a matrix are not there yet."""
    others: list[int] = []
    batch_size, position = None, 0
    if not {type(op) for op in tape.operations} <= PLAIN.keys():
        for op in tape.operations:
            if holds_matrix(op) or isinstance(op, StatePrepBase):
                if holds_matrix(op) and qml.math.get_interface(*op.data) == "jax":
                    return (tape,), _first
                others += range(position, position + len(op.data))
                batch_size = batch_size or op.batch_size
            position += len(op.data)
    structure, data = read_operations(tape.operations)
    return (joined(tape, structure, data, others, batch_size),), _first


def _stops_adjoint(op: Any) -> bool:
    if type(op) in PLAIN:
        return True
    if holds_matrix(op) and any(requires_grad(number) for number in op.data):
        return False
    return is_supported(op)


def _expand_matrices(tape: Any) -> Any:
    """Circuits with matrices that differ from sample to sample, sample by sample."""
    if any(is_batched_constant(op) for op in tape.operations if type(op) not in PLAIN):
        return broadcast_expand(tape)
    return (tape,), _first


def _sample(tape: Any, postselect_mode: str | None) -> Any:
    """With shots: everything from the samples of circuits that end in the eigenbasis of what is measured."""
    if not tape.shots:
        return (tape,), _first
    if measures_midway(tape):
        return by_samples(tape, _basis_changes, postselect_mode)
    return _through(_SAMPLING, tape)


def _end_in_eigenbasis(tape: Any) -> Any:
    wires = qml.wires.Wires.all_wires([m.wires for m in tape.measurements])
    if any(not m.wires for m in tape.measurements):
        wires = tape.wires
    sampled = tape.copy(
        operations=[*tape.operations, *_basis_changes(tape.measurements)], measurements=[qml.sample(wires=wires)]
    )

    def process(results: Any) -> Any:
        each = results[0] if tape.shots.has_partitioned_shots else (results[0],)
        found = [tuple(m.process_samples(samples, wires) for m in tape.measurements) for samples in each]
        answers = tuple(own[0] if len(own) == 1 else own for own in found)
        return answers if tape.shots.has_partitioned_shots else answers[0]

    return (sampled,), process


def _basis_changes(measurements: Any) -> list[Any]:
    """The gates that diagonalise what is measured; those that several measurements share, once."""
    gates: dict[Any, list[Any]] = {}
    for measurement in measurements:
        runs: dict[Any, list[Any]] = {}
        for gate in measurement.diagonalizing_gates() if measurement.obs is not None else ():
            runs.setdefault(gate.wires, []).append(gate)
        for wires, run in runs.items():
            gates.setdefault((wires, tuple(map(identity, run)), tuple(map(_numbers, run))), run)
    return [gate for run in gates.values() for gate in run]


def _numbers(gate: Any) -> tuple[float, ...]:
    return () if holds_matrix(gate) else tuple(map(float, gate.data))


_SAMPLING = split_non_commuting + qml.transform(_end_in_eigenbasis)


def _split_trained(tape: Any) -> Any:
    """Expectation values of observables with trained coefficients, term by term: the framework adds them up."""
    trained = [m for m in tape.measurements if m.obs is not None and any(map(_is_trained, m.obs.data))]
    if not trained:
        return (tape,), _first
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


def _read_off_states(tape: Any, wires: Any) -> Any:
    """What the device cannot differentiate is read off the state by the framework, which differentiates that."""
    if all(is_differentiable(measurement) for measurement in tape.measurements):
        return (tape,), _first
    order = qml.wires.Wires(wire_order(tape.operations, tape.measurements, None if wires is None else wires.labels))
    own = [m for m in tape.measurements if is_differentiable(m)]
    state_tape = tape.copy(measurements=[*own, qml.state()])

    def read_off(results: Any) -> Any:
        parts = iter(results[0][:-1] if own else ())
        state = results[0][-1] if own else results[0]
        found = tuple(next(parts) if is_differentiable(m) else m.process_state(state, order) for m in tape.measurements)
        return found[0] if len(found) == 1 else found

    return (state_tape,), read_off


def _through(program: Any, tape: Any) -> Any:
    """A tape through several transforms, as one of them."""
    tapes, process = program((tape,))
    return tapes, lambda results: process(results)[0]


def _first(results: Any) -> Any:
    return results[0]


_EXPAND_MATRICES = qml.transform(_expand_matrices)
_EXPAND_MIDWAY = qml.transform(_expand_midway)
_JOIN = qml.transform(_join)
_LOWER = qml.transform(_lower)
_READ_OFF_STATES = qml.transform(_read_off_states)
_SAMPLE = qml.transform(_sample)
_SPLIT_TRAINED = qml.transform(_split_trained)
