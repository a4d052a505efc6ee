"""`FusedLayer` inside ``torch.compile`` and ``torch.export``: against Qiskit's statevectors and finite differences."""

from __future__ import annotations

import copy
import gc
from typing import Any

import numpy as np
import pytest
from qiskit.circuit.library import real_amplitudes, zz_feature_map
from qiskit.quantum_info import SparsePauliOp, Statevector

from qiskit_fusedqml.errors import FusedQMLError, InvalidInputError

torch = pytest.importorskip("torch")

from qiskit_fusedqml import FusedLayer  # noqa: E402
from qiskit_fusedqml.interfaces import torch as module  # noqa: E402

FEATURES, ANSATZ = zz_feature_map(2, reps=1), real_amplitudes(2, reps=1)
OBSERVABLES = [SparsePauliOp("ZI"), SparsePauliOp(["XX", "IY"], [0.5, 1.0])]
X = torch.tensor(np.random.default_rng(3).normal(size=(5, 2)))


def layer() -> Any:
    return FusedLayer(FEATURES.compose(ANSATZ), OBSERVABLES, FEATURES.parameters, dtype=torch.float64)


def compiled(module: Any, backend: str = "eager") -> Any:
    """Compiled in one piece: whatever the compiler cannot look into is an error."""
    torch._dynamo.reset()
    return torch.compile(module, backend=backend, fullgraph=True)


def test_values_and_gradients_of_a_network() -> None:
    torch.manual_seed(1)  # of some networks the third derivatives are large
    quantum = layer()
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), quantum, torch.nn.Linear(2, 2), layer()).double()
    whole = compiled(network, "aot_eager")
    hidden = network[0](X).detach().numpy()
    weights = quantum.weight.detach().numpy()
    states = [Statevector(FEATURES.assign_parameters(h).compose(ANSATZ.assign_parameters(weights))) for h in hidden]
    expected = [[state.expectation_value(o).real for o in OBSERVABLES] for state in states]
    np.testing.assert_allclose(compiled(network[:2])(X).detach(), expected, rtol=0, atol=1e-12)
    parameters = [p.detach().clone().requires_grad_() for p in network.parameters()]
    names = [name for name, _ in network.named_parameters()]

    def loss(*values: Any) -> Any:
        return torch.func.functional_call(network, dict(zip(names, values, strict=True)), (X,)).square().sum()

    whole(X).square().sum().backward()
    step = 1e-6
    for k, parameter in enumerate(network.parameters()):
        for i in range(parameter.numel()):
            ends = []
            for sign in (1, -1):
                moved = [p.detach().clone() for p in parameters]
                moved[k].view(-1)[i] += sign * step
                with torch.no_grad():
                    ends.append(float(loss(*moved)))
            assert abs(float(parameter.grad.view(-1)[i]) - (ends[0] - ends[1]) / (2 * step)) < 1e-7


def test_a_step_is_one_forward_and_one_backward_sweep(sweeps: list[str]) -> None:
    quantum = layer()
    whole = compiled(quantum)
    for inputs in (X, X.clone().requires_grad_()):
        whole(inputs).square().sum().backward()
        assert sweeps == ["f", "b"]
        sweeps.clear()
    with torch.no_grad():
        whole(X)
    assert sweeps == ["f"]
    assert not module._HELD


def test_states_of_other_values_are_not_used() -> None:
    quantum = layer()
    whole = compiled(quantum)
    first, second = (inputs.clone().requires_grad_() for inputs in (X, X + 1))
    values = [whole(first), whole(second)]  # the second pass takes the place of the first
    for value in values:
        value.sum().backward()
    for inputs in (first, second):
        alone = inputs.detach().clone().requires_grad_()
        quantum(alone).sum().backward()
        np.testing.assert_allclose(inputs.grad, alone.grad, rtol=0, atol=1e-13)


def test_the_operators_keep_torchs_rules() -> None:
    quantum, cotangents = layer(), torch.ones(5, 2).double()
    x, weight = X.clone().requires_grad_(), quantum.weight
    torch.library.opcheck(torch.ops.qiskit_fusedqml.values, (x, weight, 2, quantum._number, True, True))
    arguments = (X, weight.detach(), cotangents, quantum._number)
    for inputs_too in (False, True):
        torch.library.opcheck(torch.ops.qiskit_fusedqml.gradients, (*arguments, inputs_too))


def test_other_sizes_and_circuits_without_inputs() -> None:
    quantum, free = layer(), FusedLayer(ANSATZ, OBSERVABLES, dtype=torch.float64)
    whole = compiled(quantum)
    for shape in ((5, 2), (3, 2), (2, 3, 2), (2,), (0, 2)):
        x = torch.ones(shape).double()
        assert torch.equal(whole(x), quantum(x))
    np.testing.assert_allclose(compiled(free)().detach(), free().detach(), rtol=0, atol=1e-14)
    with pytest.raises(InvalidInputError, match=r"shape \(2, 3\); \(\.\.\., 2\)"):
        torch.compile(quantum, backend="eager")(torch.zeros(2, 3))
    with pytest.raises(InvalidInputError, match="finite"):
        whole(torch.full((5, 2), torch.nan).double())


def test_exported_programs_and_copies() -> None:
    quantum = layer()
    twin = copy.deepcopy(quantum)
    assert twin._number != quantum._number
    assert torch.equal(torch.export.export(twin, (X,)).module()(X), quantum(X))
    with pytest.raises(FusedQMLError, match=r"FusedLayer number 0 does not exist .* needs it alive"):
        torch.ops.qiskit_fusedqml.values(X, quantum.weight, 2, 0, False, False)
    number, quantum = quantum._number, None
    gc.collect()
    assert number not in module._LAYERS
