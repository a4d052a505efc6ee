"""`FusedLayer` against finite differences, parameter shift and Qiskit's statevectors, and in PyTorch's machinery."""

from __future__ import annotations

import copy
import io
import os
import pickle
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit.library import real_amplitudes, zz_feature_map
from qiskit.quantum_info import SparsePauliOp, Statevector

from qiskit_fusedqml import DifferentiableCircuit
from qiskit_fusedqml.engine.passes import Passes
from qiskit_fusedqml.engine.program_function import ProgramFunction
from qiskit_fusedqml.errors import FusedQMLError, InvalidInputError

torch = pytest.importorskip("torch")

from qiskit_fusedqml import FusedLayer  # noqa: E402

RNG = np.random.default_rng(61)
FEATURES, ANSATZ = zz_feature_map(3, reps=1), real_amplitudes(3, reps=1)
OBSERVABLES = [SparsePauliOp("ZII"), SparsePauliOp(["XXI", "IYZ"], [0.5, 1.0])]
WEIGHTS = RNG.uniform(-2, 2, 6)


def layer(**options: Any) -> Any:
    options = {"initial_weights": WEIGHTS, "dtype": torch.float64} | options
    return FusedLayer(FEATURES.compose(ANSATZ), OBSERVABLES, FEATURES.parameters, **options)


def samples(*shape: int, grad: bool = True) -> Any:
    return torch.tensor(RNG.normal(size=shape), requires_grad=grad)


def expected(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    states = [
        Statevector(
            FEATURES.assign_parameters(row).compose(ANSATZ.assign_parameters(w)),
        )
        for row in x
    ]
    return np.array([[state.expectation_value(o).real for o in OBSERVABLES] for state in states])


@pytest.mark.parametrize("batch", [1, 5])
def test_values_and_gradcheck(batch: int) -> None:
    quantum, x = layer(), samples(batch, 3)
    np.testing.assert_allclose(quantum(x).detach(), expected(x.detach().numpy(), WEIGHTS), rtol=0, atol=1e-12)

    def function(rows: Any, weight: Any) -> Any:
        return torch.func.functional_call(quantum, {"weight": weight}, (rows,))

    weight = torch.tensor(WEIGHTS, requires_grad=True)
    assert torch.autograd.gradcheck(function, (x, weight), atol=1e-7, rtol=1e-6)
    assert torch.autograd.gradcheck(function, (x.detach(), weight), atol=1e-7, rtol=1e-6)
    assert torch.autograd.gradcheck(function, (x, weight.detach()), atol=1e-7, rtol=1e-6)


def test_gradients_by_parameter_shift() -> None:
    quantum, x = layer(), samples(4, 3, grad=False)
    weight_of_output = RNG.normal(size=(4, 2))
    (quantum(x) * torch.tensor(weight_of_output)).sum().backward()
    rows = x.numpy()
    shifts = [(expected(rows, WEIGHTS + s) - expected(rows, WEIGHTS - s)) / 2 for s in np.pi / 2 * np.eye(6)]
    np.testing.assert_allclose(
        quantum.weight.grad, [(weight_of_output * shift).sum() for shift in shifts], rtol=0, atol=1e-12
    )


def test_any_device_simulates() -> None:
    quantum, x = layer(device="reference"), samples(3, 3)
    weight = torch.tensor(WEIGHTS, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda rows, w: torch.func.functional_call(quantum, {"weight": w}, (rows,)), (x, weight), atol=1e-7, rtol=1e-6
    )


class OnDevice(torch.Tensor):
    """A tensor that says it is in a GPU's memory, and whose numbers cannot be read but by DLPack."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, **_: Any) -> np.ndarray:
        assert not self.requires_grad
        return self.as_subclass(torch.Tensor).numpy().copy()

    def numpy(self, **_: Any) -> Any:
        raise AssertionError("a copy to the host")


def test_tensors_in_a_gpus_memory_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from support.emulation import fake_cupy

    cupy = fake_cupy.make()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr("qiskit_fusedqml.devices.gpu.runtime._kernels", {})
    finished = fake_cupy.finished
    monkeypatch.setattr(torch, "from_dlpack", lambda array: torch.tensor(finished(array)).as_subclass(OnDevice))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: SimpleNamespace(cuda_stream=0x7E57))
    quantum, x = layer(device="GPU"), samples(4, 3, grad=False)
    cotangents = torch.tensor(RNG.normal(size=(4, 2)))
    own, theirs = x.clone().requires_grad_(), x.as_subclass(OnDevice).requires_grad_()
    before = len(fake_cupy.downloads)
    values = quantum(theirs)
    assert isinstance(values, OnDevice)
    values.backward(cotangents.as_subclass(OnDevice))
    assert len(fake_cupy.downloads) == before
    assert set(cupy.streams) == {(0, 0x7E57)}  # all on torch's current stream
    plain = layer()
    plain(own).backward(cotangents)
    np.testing.assert_allclose(values.detach().as_subclass(torch.Tensor), plain(own).detach(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(theirs.grad.as_subclass(torch.Tensor), own.grad, rtol=0, atol=1e-12)
    np.testing.assert_allclose(quantum.weight.grad.as_subclass(torch.Tensor), plain.weight.grad, rtol=0, atol=1e-12)
    np.testing.assert_allclose(quantum(x).detach(), plain(x).detach(), rtol=0, atol=1e-12)  # from the host, as ever


def test_a_captured_training_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``torch.cuda.graph`` captures it: static tensors, a replay works on what is in them."""
    from support.emulation import fake_cupy

    class Static(OnDevice):
        """Shares its memory."""

        def __dlpack__(self, **_: Any) -> np.ndarray:
            return self.as_subclass(torch.Tensor).numpy()

    cupy = fake_cupy.make()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr("qiskit_fusedqml.devices.gpu.runtime._kernels", {})
    monkeypatch.setattr(torch, "from_dlpack", lambda array: torch.from_numpy(array.host).as_subclass(Static))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: SimpleNamespace(cuda_stream=0x7E57))
    quantum, plain = layer(device="GPU"), layer()
    quantum.weight = torch.nn.Parameter(quantum.weight.detach().as_subclass(Static))
    x, cotangents = samples(4, 3, grad=False), torch.tensor(RNG.normal(size=(4, 2)))
    static = x.clone().as_subclass(Static).requires_grad_()

    def step() -> tuple[torch.Tensor, ...]:
        values = quantum(static)
        return values, *torch.autograd.grad(values, [static, quantum.weight], cotangents.as_subclass(Static))

    for _ in range(2):
        step()
    stream = fake_cupy.from_external(SimpleNamespace(__cuda_stream__=lambda: (0, 0x7E57)))
    stream.begin_capture()
    results = step()
    graph = stream.end_capture()
    for _ in range(2):
        x.copy_(samples(4, 3, grad=False))
        static.data.copy_(x)
        own = x.clone().requires_grad_()
        values = plain(own)
        expected = values, *torch.autograd.grad(values, [own, plain.weight], cotangents)
        with stream:
            graph.launch()
        fake_cupy.machine().finish()
        for found, right in zip(results, expected, strict=True):
            np.testing.assert_allclose(found.detach().as_subclass(torch.Tensor), right.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 4, 3), (0, 3)])
def test_shapes(shape: tuple[int, ...]) -> None:
    quantum, x = layer(), samples(*shape)
    values = quantum(x)
    assert values.shape == (*shape[:-1], 2)
    values.sum().backward()
    assert x.grad.shape == x.shape
    assert quantum.weight.grad.shape == (6,)
    with torch.no_grad():
        np.testing.assert_allclose(quantum(x), values.detach(), rtol=0, atol=1e-12)


def test_types_follow_input_and_weight() -> None:
    single = layer(dtype=None, precision="single")
    assert single.weight.dtype == torch.float32
    x = torch.tensor(RNG.normal(size=(4, 3)), dtype=torch.float32, requires_grad=True)
    values = single(x)
    values.square().sum().backward()
    assert {values.dtype, x.grad.dtype, single.weight.grad.dtype} == {torch.float32}
    np.testing.assert_allclose(values.detach(), expected(x.detach().numpy(), WEIGHTS), rtol=0, atol=1e-5)
    assert layer()(x).dtype == torch.float64
    assert layer(dtype=torch.float32).double()(x.detach().double()).dtype == torch.float64


def test_bfloat16_is_taken() -> None:
    quantum, x = layer(dtype=torch.bfloat16), samples(4, 3).to(torch.bfloat16).detach().requires_grad_()
    values = quantum(x)
    values.sum().backward()
    assert {values.dtype, x.grad.dtype, quantum.weight.grad.dtype} == {torch.bfloat16}
    wanted = expected(x.detach().double().numpy(), quantum.weight.detach().double().numpy())
    np.testing.assert_allclose(values.detach().double(), wanted, rtol=0, atol=0.01)


def test_frozen_weights_hold_no_states(sweeps: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    quantum = layer().requires_grad_(False)
    held: list[Any] = []
    vjp = ProgramFunction.vjp
    monkeypatch.setattr(ProgramFunction, "vjp", lambda *a, **k: held.append(a) or vjp(*a, **k))
    assert not quantum(samples(2, 3, grad=False)).requires_grad
    assert not held
    x = samples(2, 3)
    quantum(x).sum().backward()
    assert len(held) == 1
    assert sweeps == ["f", "f", "b"]
    assert quantum.weight.grad is None
    assert x.grad.abs().sum() > 0


def test_compiled_networks() -> None:
    quantum, x = layer(), samples(4, 3, grad=False)
    torch._dynamo.reset()
    network = torch.compile(torch.nn.Sequential(torch.nn.Tanh(), quantum, torch.nn.Tanh()), backend="eager")
    rows = np.tanh(x.numpy())
    for _ in range(2):
        quantum.weight.grad = None
        values = network(x)
        np.testing.assert_allclose(values.detach(), np.tanh(expected(rows, WEIGHTS)), rtol=0, atol=1e-12)
        values.sum().backward()
    slopes = 1 / np.cosh(expected(rows, WEIGHTS)) ** 2
    shifts = [(expected(rows, WEIGHTS + s) - expected(rows, WEIGHTS - s)) / 2 for s in np.pi / 2 * np.eye(6)]
    np.testing.assert_allclose(quantum.weight.grad, [(slopes * shift).sum() for shift in shifts], rtol=0, atol=1e-12)


def test_circuits_without_inputs_or_weights() -> None:
    ansatz = FusedLayer(ANSATZ, OBSERVABLES, initial_weights=WEIGHTS, dtype=torch.float64)
    value = ansatz()
    assert value.shape == (2,)
    value.sum().backward()
    once = ansatz.weight.grad.clone()
    ansatz.weight.grad = None
    ansatz(torch.zeros(3, 0)).sum().backward()
    np.testing.assert_allclose(ansatz.weight.grad, 3 * once, rtol=0, atol=1e-12)
    features = FusedLayer(FEATURES, OBSERVABLES, FEATURES.parameters, dtype=torch.float64)
    x = samples(2, 3)
    assert torch.autograd.gradcheck(features, (x,), atol=1e-7, rtol=1e-6)


def test_a_step_is_one_forward_and_one_backward_sweep(sweeps: list[str]) -> None:
    quantum = layer()
    x = samples(7, 3)
    quantum(x).square().sum().backward()
    assert sweeps == ["f", "b"]
    with torch.no_grad():
        quantum(x)
    assert sweeps == ["f", "b", "f"]


def test_a_retained_graph_is_walked_twice() -> None:
    quantum, x = layer(), samples(2, 3)
    loss = quantum(x).square().sum()
    loss.backward(retain_graph=True)
    first = x.grad.clone(), quantum.weight.grad.clone()
    loss.backward()
    for once, twice in zip(first, (x.grad, quantum.weight.grad), strict=True):
        np.testing.assert_allclose(twice, 2 * once, rtol=0, atol=1e-12)


def test_weights_changed_before_the_backward_pass_are_noticed() -> None:
    quantum = layer()
    loss = quantum(samples(2, 3)).sum()
    with torch.no_grad():
        quantum.weight.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_second_derivatives_are_refused_with_the_way_out() -> None:
    quantum, x = layer(), samples(2, 3)
    (gradient,) = torch.autograd.grad(quantum(x).sum(), quantum.weight, create_graph=True)
    with pytest.raises(FusedQMLError, match="hvp"):
        gradient.sum().backward()
    assert quantum.function.hvp(x.detach().numpy(), WEIGHTS, np.ones(6)).shape == (6,)


def test_functional_transforms() -> None:
    quantum, x = layer(), samples(2, 3, grad=False)

    def loss(weight: Any) -> Any:
        return torch.func.functional_call(quantum, {"weight": weight}, (x,)).square().sum()

    quantum(x).square().sum().backward()
    weight = quantum.weight.detach()
    np.testing.assert_allclose(torch.func.grad(loss)(weight), quantum.weight.grad, rtol=0, atol=1e-12)
    for refused in (
        torch.func.grad(lambda at: torch.func.grad(loss)(at).sum()),
        torch.func.jacrev(torch.func.grad(loss)),
    ):
        with pytest.raises(FusedQMLError, match="hvp"):
            refused(weight)
    with pytest.raises(RuntimeError, match="forward mode AD"):
        torch.func.jacfwd(loss)(weight)


def test_vmap_over_inputs_and_weights() -> None:
    quantum, x = layer(), samples(4, 2, 3, grad=False)
    weights = torch.tensor(RNG.normal(size=(4, 6)))
    call, vmap = torch.func.functional_call, torch.func.vmap

    def value(weight: Any, rows: Any) -> Any:
        return call(quantum, {"weight": weight}, (rows,))

    by_hand = np.stack([expected(rows, w) for rows, w in zip(x.numpy(), weights.numpy(), strict=True)])
    same_x = np.stack([expected(x[0].numpy(), w) for w in weights.numpy()])
    same_w = np.stack([expected(rows, WEIGHTS) for rows in x.numpy()])
    for found, wanted in (
        (vmap(quantum)(x), same_w),
        (vmap(quantum, in_dims=1, out_dims=1)(x), same_w),
        (vmap(vmap(quantum))(x), same_w),
        (vmap(value, in_dims=(0, None))(weights, x[0]), same_x),
        (vmap(value)(weights, x), by_hand),
        (vmap(vmap(value, in_dims=(None, 0)))(weights, x), by_hand),
        (
            vmap(vmap(value, in_dims=(0, None)), in_dims=(None, 0))(weights, x)[:, 0],
            [expected(r, weights[0].numpy()) for r in x.numpy()],
        ),
    ):
        np.testing.assert_allclose(found.detach(), wanted, rtol=0, atol=1e-12)
    ansatz = FusedLayer(ANSATZ, OBSERVABLES, dtype=torch.float64)
    found = vmap(lambda weight: call(ansatz, {"weight": weight}, ()))(weights)
    wanted = [
        [Statevector(ANSATZ.assign_parameters(w)).expectation_value(o).real for o in OBSERVABLES]
        for w in weights.numpy()
    ]
    np.testing.assert_allclose(found.detach(), wanted, rtol=0, atol=1e-12)


def test_jacobians_and_gradients_of_each_sample() -> None:
    quantum, x = layer(), samples(3, 3, grad=False)
    weight, call, func = torch.tensor(WEIGHTS), torch.func.functional_call, torch.func
    rows, step = x.numpy(), 1e-6
    by_weight = np.stack(
        [(expected(rows, WEIGHTS + s) - expected(rows, WEIGHTS - s)) / 2 for s in np.pi / 2 * np.eye(6)], -1
    )
    by_input = np.stack(
        [(expected(rows + s, WEIGHTS) - expected(rows - s, WEIGHTS)) / (2 * step) for s in step * np.eye(3)], -1
    )

    def value(weight: Any, rows: Any) -> Any:
        return call(quantum, {"weight": weight}, (rows,))

    def total(weight: Any, rows: Any) -> Any:
        return value(weight, rows).sum()

    np.testing.assert_allclose(func.jacrev(value)(weight, x), by_weight, rtol=0, atol=1e-12)
    found = func.jacrev(value, argnums=1)(weight, x)
    np.testing.assert_allclose(torch.einsum("bkbi->bki", found), by_input, rtol=0, atol=1e-8)
    each = func.vmap(func.grad(total, argnums=(0, 1)), in_dims=(None, 0))(weight, x)
    for mine, other in zip(each, (by_weight, by_input), strict=True):
        np.testing.assert_allclose(mine, other.sum(axis=1), rtol=0, atol=1e-8)
    through = func.grad(lambda w, r: func.vmap(value, in_dims=(None, 0))(w, r).sum(), argnums=(0, 1))(weight, x)
    np.testing.assert_allclose(through[0], by_weight.sum(axis=(0, 1)), rtol=0, atol=1e-12)
    np.testing.assert_allclose(through[1], by_input.sum(axis=1), rtol=0, atol=1e-8)
    several = func.vmap(func.grad(total), in_dims=(0, None))(torch.stack([weight, weight]), x)
    np.testing.assert_allclose(several, np.stack(2 * [by_weight.sum(axis=(0, 1))]), rtol=0, atol=1e-12)
    ansatz = FusedLayer(ANSATZ, OBSERVABLES, dtype=torch.float64)
    found = func.jacrev(lambda w: call(ansatz, {"weight": w}, (torch.zeros(2, 0),)))(weight)
    state = [
        [
            [Statevector(ANSATZ.assign_parameters(WEIGHTS + s)).expectation_value(o).real for o in OBSERVABLES]
            for s in sign * np.pi / 2 * np.eye(6)
        ]
        for sign in (1, -1)
    ]
    np.testing.assert_allclose(found, np.stack(2 * [(np.array(state[0]) - state[1]).T / 2]), rtol=0, atol=1e-12)


def hybrid() -> Any:
    """A convolution, the circuit, a readout."""
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 3),
        torch.nn.Tanh(),
        layer(dtype=None, initial_weights=None),
        torch.nn.Linear(2, 2),
    )


def images(count: int = 24) -> tuple[Any, Any]:
    """Horizontal and vertical bars in noise."""
    generator = torch.Generator().manual_seed(2)
    pictures, labels = 0.1 * torch.randn(count, 1, 6, 6, generator=generator), torch.arange(count) % 2
    pictures[labels == 0, :, 2] += 1
    pictures[labels == 1, :, :, 2] += 1
    return pictures, labels


def test_a_hybrid_network_learns_from_a_loader_with_workers() -> None:
    network, losses = hybrid(), []
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*images()), batch_size=8, num_workers=1, persistent_workers=True
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(8):
        losses.append(0.0)
        for pictures, labels in loader:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(pictures), labels)
            loss.backward()
            optimizer.step()
            losses[-1] += loss.item() / 3
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())
    assert losses[-1] < 0.5 * losses[0]


def test_state_dicts_copies_and_pickles() -> None:
    network, (pictures, _) = hybrid(), images(4)
    stored = io.BytesIO()
    torch.save(network.state_dict(), stored)
    stored.seek(0)
    other = hybrid()
    other[6].reset_parameters()
    assert "6.weight" in network.state_dict()
    other.load_state_dict(torch.load(stored))
    values = network(pictures)
    values.sum().backward()
    for twin in (other, copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(twin(pictures), values)
    assert "3 qubits, inputs=3, weights=6, outputs=2" in repr(network)


def test_eight_threads_at_once() -> None:
    quantum = layer()
    rows = [samples(3, 3) for _ in range(16)]

    def gradient(x: Any) -> Any:
        return torch.autograd.grad(quantum(x).square().sum(), x)[0]

    wanted = [gradient(x) for x in rows]
    with ThreadPoolExecutor(8) as pool:
        for mine, other in zip(pool.map(gradient, rows), wanted, strict=True):
            np.testing.assert_allclose(mine, other, rtol=0, atol=1e-12)


def work(rank: int, folder: Path) -> None:
    """One of two processes with half the batch each; stores the gradients, which are means over both, and waits."""
    store, patience = f"file://{folder}/store", timedelta(seconds=90)
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=patience)
    network = torch.nn.parallel.DistributedDataParallel(hybrid())
    pictures, labels = images(8)
    for _ in range(2):
        network.zero_grad()
        torch.nn.functional.cross_entropy(network(pictures[rank::2]), labels[rank::2]).backward()
    torch.save([parameter.grad for parameter in network.parameters()], f"{folder}/unfinished{rank}")
    Path(f"{folder}/unfinished{rank}").rename(f"{folder}/gradients{rank}")
    time.sleep(120)  # to be killed: gloo does not always survive the end of its peer


def test_two_processes_share_a_batch(tmp_path: Path) -> None:
    # fresh interpreters, because torch's own threads do not survive a fork
    code = "import sys, test_torch; test_torch.work(int(sys.argv[1]), sys.argv[2])"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    workers = [
        subprocess.Popen([sys.executable, "-P", "-c", code, str(rank), str(tmp_path)], env=environment)
        for rank in (0, 1)
    ]
    files = [tmp_path / "gradients0", tmp_path / "gradients1"]
    try:
        while not all(file.exists() for file in files):
            assert [worker.poll() for worker in workers] == [None, None]
            time.sleep(0.05)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    network, (pictures, labels) = hybrid(), images(8)
    torch.nn.functional.cross_entropy(network(pictures), labels).backward()
    for file in files:
        for shared, parameter in zip(torch.load(file), network.parameters(), strict=True):
            np.testing.assert_allclose(shared, parameter.grad, rtol=0, atol=1e-6)


def test_wrong_arguments() -> None:
    with pytest.raises(InvalidInputError, match=r"initial_weights has shape \(5,\); \(6,\)"):
        layer(initial_weights=WEIGHTS[:5])
    with pytest.raises(InvalidInputError, match=r"shape \(2, 4\); \(\.\.\., 3\)"):
        layer()(torch.zeros(2, 4))
    with pytest.raises(InvalidInputError, match=r"\(\.\.\., 3\)"):
        layer()()
    with pytest.raises(InvalidInputError, match=r"of type ndarray; a torch\.Tensor"):
        layer()(np.zeros((2, 3)))
    with pytest.raises(InvalidInputError, match=r"of type torch\.complex64; a torch\.Tensor of real"):
        layer()(torch.zeros(2, 3, dtype=torch.complex64))
    with pytest.raises(InvalidInputError, match="finite"):
        layer()(torch.full((1, 3), torch.nan))
    with pytest.raises(InvalidInputError, match="listed nowhere"):
        FusedLayer(FEATURES.compose(ANSATZ), OBSERVABLES, FEATURES.parameters, ANSATZ.parameters[:2])


def test_differentiable_circuits_are_copied_as_they_were() -> None:
    circuit = QuantumCircuit(1)
    circuit.compose(real_amplitudes(1, reps=0), inplace=True)
    f = DifferentiableCircuit(circuit, ["Z"])
    circuit.x(0)
    for other in (copy.copy(f), copy.deepcopy(f), pickle.loads(pickle.dumps(f))):
        assert other.values(None, [0.3]) == f.values(None, [0.3])


def test_gradcheck_sees_a_wrong_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    backward = Passes.backward

    def wrong(*a, **k):
        shared, by_row = backward(*a, **k)
        return 1.001 * shared, None if by_row is None else 1.001 * by_row

    monkeypatch.setattr(Passes, "backward", wrong)
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(layer(), (samples(2, 3),), atol=1e-7, rtol=1e-6)
