"""`fit`: the loop it says it is, and the same run whether or not it was cut off."""

from __future__ import annotations

import json
import random
import re
import signal
import threading
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.forked import in_child
from support.idx_files import write_mnist
from support.runs import (
    BATCH,
    EPOCHS,
    OPTIMIZERS,
    SAMPLES,
    SCHEDULES,
    STEPS,
    Cut,
    Data,
    X,
    Y,
    adam,
    cut,
    intrude,
    quantum,
    small_model,
    train,
)

from qiskit_fusedqml import fit
from qiskit_fusedqml.errors import DivergedError, InvalidInputError, MissingExtraError
from qiskit_fusedqml.training import plot, read_metrics
from qiskit_fusedqml.training.checkpoint import load_checkpoint, save_checkpoint


def weights(model: torch.nn.Module) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())


def trajectory(folder: Path) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in record.items() if name not in {"seconds", "samples_per_second"}}
        for record in read_metrics(folder)
    ]


# --- what it computes ---


def test_it_is_the_loop_one_would_write() -> None:
    model = small_model()
    optimizer = adam(model.parameters())
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    means = []
    for epoch in range(EPOCHS):
        order = np.random.default_rng([8, epoch]).permutation(SAMPLES)
        total = 0.0
        for start in range(0, SAMPLES, BATCH):
            rows = torch.as_tensor(order[start : start + BATCH])
            optimizer.zero_grad()
            loss = ((model(X[rows]) - Y[rows]) ** 2).mean()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(rows)
        means.append(total / SAMPLES)
    found, epochs = train(None, schedule=lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9))
    assert weights(found) == weights(model)
    assert [epoch.loss for epoch in epochs] == means
    assert [(epoch.number, epoch.step) for epoch in epochs] == [(1, 5), (2, 10), (3, 15)]
    assert all(epoch.seconds > 0 for epoch in epochs)


@pytest.mark.parametrize(
    ("data", "collate"),
    [
        ((X, Y), None),
        ((X.numpy(), Y.numpy()), None),
        (torch.utils.data.TensorDataset(X, Y), None),
        ([(x, y) for x, y in zip(X, Y, strict=True)], torch.utils.data.default_collate),
    ],
    ids=["tensors", "arrays", "dataset", "samples"],
)
def test_data_may_be_given_in_several_forms(data: Any, collate: Any) -> None:
    if collate is not None:  # a list of two arrays would be a pair
        data = dict(enumerate(data))
    assert weights(train(None, data, collate=collate)[0]) == weights(train(None)[0])


def test_schedulers_by_epoch_get_the_loss_they_want() -> None:
    made: list[torch.optim.Optimizer] = []

    def sgd(parameters: Any) -> torch.optim.Optimizer:
        made.append(torch.optim.SGD(parameters, lr=1.0))
        return made[-1]

    def plateau(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.ReduceLROnPlateau:
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.3, patience=0, threshold=0.2)

    _, epochs = train(None, optimizer=sgd, schedule=plateau, schedule_by="epoch", epochs=6)
    expected = plateau(sgd([torch.zeros(1, requires_grad=True)]))
    for epoch in epochs:
        expected.step(epoch.loss)
    assert made[0].param_groups[0]["lr"] == made[1].param_groups[0]["lr"]
    assert 0.3**5.5 < made[0].param_groups[0]["lr"] < 0.9  # reduced sometimes, not always


def test_the_callback_sees_the_model_as_it_is_used() -> None:
    told: list[Any] = []
    model = small_model()

    def look(epoch: Any) -> dict[str, float]:
        told.append((epoch.number, model.training, torch.is_grad_enabled()))
        return {"accuracy": torch.tensor(0.5)}

    epochs = fit(
        model, adam(model.parameters()), torch.nn.MSELoss(), (X, Y), epochs=2, batch_size=SAMPLES, callback=look
    )
    assert told == [(1, False, False), (2, False, False)]
    assert model.training
    assert [epoch.metrics for epoch in epochs] == [{"accuracy": 0.5}] * 2


# --- cut off and resumed ---


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [("adam", "none"), ("adam", "one cycle"), ("sgd", "milestones"), ("lbfgs", "none"), ("rmsprop", "sequence")],
)
@pytest.mark.parametrize("step", [1, 5, 8])
def test_a_run_that_was_cut_off_is_the_same_run(tmp_path: Path, optimizer: str, schedule: str, step: int) -> None:
    options = {"optimizer": OPTIMIZERS[optimizer], "schedule": SCHEDULES[schedule]}
    whole, epochs = train(tmp_path / "whole", **options)
    for at in (step, 3):  # twice; at a step that is saved, and between two
        with pytest.raises(Cut):
            train(tmp_path / "cut", Data(at, cut), **options)
    torch.manual_seed(12345)
    resumed, resumed_epochs = train(tmp_path / "cut", **options)
    assert weights(resumed) == weights(whole)
    assert trajectory(tmp_path / "cut") == trajectory(tmp_path / "whole")
    assert [(e.number, e.step, e.loss) for e in resumed_epochs] == [(e.number, e.step, e.loss) for e in epochs]


@pytest.mark.parametrize("forgotten", ["model", "optimizer", "scheduler", "random", "place"])
def test_forgetting_any_part_of_the_state_would_be_noticed(tmp_path: Path, forgotten: str) -> None:
    options = {"schedule": SCHEDULES["milestones"]}
    whole, _ = train(tmp_path / "whole", **options)
    with pytest.raises(Cut):
        train(tmp_path / "cut", Data(8, cut), **options)
    with pytest.raises(Cut):
        train(tmp_path / "start", Data(2, cut), **options)
    state = load_checkpoint(tmp_path / "cut" / "checkpoint.pt")
    state[forgotten] = load_checkpoint(tmp_path / "start" / "checkpoint.pt")[forgotten]
    save_checkpoint(tmp_path / "cut" / "checkpoint.pt", state)
    assert weights(train(tmp_path / "cut", **options)[0]) != weights(whole)


def test_other_generators_go_on_where_they_were(tmp_path: Path) -> None:
    class Noisy(Data):
        def __getitem__(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
            x, y = super().__getitem__(rows)
            return x + random.random() * np.random.normal(), y  # noqa: NPY002

    def seeded(folder: Path, data: Any) -> bytes:
        random.seed(3)
        np.random.seed(4)  # noqa: NPY002
        return weights(train(folder, data)[0])

    with pytest.raises(Cut):
        seeded(tmp_path / "cut", Noisy(7, cut))
    assert seeded(tmp_path / "cut", Noisy()) == seeded(tmp_path / "whole", Noisy())


def test_more_epochs_continue_a_finished_run(tmp_path: Path) -> None:
    train(tmp_path, epochs=2)
    assert len(train(tmp_path, epochs=2, data=Data(0, cut))[1]) == 2  # nothing left to do
    model, epochs = train(tmp_path, epochs=4)
    assert [epoch.number for epoch in epochs] == [1, 2, 3, 4]
    assert weights(model) == weights(train(None, epochs=4)[0])


def test_killed_three_times_a_quantum_network_ends_with_the_same_weights(tmp_path: Path) -> None:
    # benchmarks/resume.py does this for longer
    mnist = write_mnist(tmp_path)
    folders = tmp_path / "killed", tmp_path / "whole"
    assert [in_child(quantum, folders[0], mnist, at) for at in (6, 10, 16, -1)] == [-9, -9, -9, 0]
    assert in_child(quantum, folders[1], mnist, -1) == 0
    killed, whole = (load_checkpoint(folder / "checkpoint.pt") for folder in folders)
    assert killed["place"] == whole["place"] == {"epoch": 3, "batch": 0, "step": 39}
    assert all(torch.equal(killed["model"][name], whole["model"][name]) for name in whole["model"])
    assert trajectory(folders[0]) == trajectory(folders[1])


# --- signals ---


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 1), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_saves_and_then_takes_its_course(tmp_path: Path, number: int, code: int) -> None:
    data = Data(6, partial(signal.raise_signal, number))
    assert in_child(partial(train, save_every=timedelta(hours=1)), tmp_path / "cut", data) == code
    assert load_checkpoint(tmp_path / "cut" / "checkpoint.pt")["place"]["step"] == 7  # the step was finished
    model, _ = train(tmp_path / "cut", save_every=timedelta(hours=1))
    assert weights(model) == weights(train(None)[0])


def test_ctrl_c_is_raised_when_all_is_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, Data(6, lambda: signal.raise_signal(signal.SIGINT)))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert load_checkpoint(tmp_path / "checkpoint.pt")["place"] == {"epoch": 1, "batch": 2, "step": 7}
    assert "Stopping after this step" in capsys.readouterr().err


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    reached: list[int] = []

    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        reached.append(1)
        signal.raise_signal(signal.SIGINT)
        reached.append(2)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, Data(7, twice))
    finally:
        signal.signal(signal.SIGINT, before)
    assert reached == [1]
    assert load_checkpoint(tmp_path / "checkpoint.pt")["place"]["step"] == 6


def test_ignored_signals_stay_ignored_and_threads_hold_none(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        train(tmp_path, Data(6, lambda: signal.raise_signal(signal.SIGINT)))
    finally:
        signal.signal(signal.SIGINT, before)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(train(None)))
    thread.start()
    thread.join()
    assert weights(found[0][0]) == weights(train(tmp_path)[0])


# --- what goes wrong ---


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("loss", r"step 7 \(epoch 2\): the loss is nan. All parameters and gradients are finite."),
        ("gradient", r"step 7 .*a gradient is not. Not finite: gradient of '4.bias' \(1 of 1 entries\)"),
        ("parameter", r"step 7 .*optimiser made a parameter that is not. Not finite: parameter '0.weight' \(2 of 12"),
    ],
)
def test_divergence_names_step_and_parameter_and_keeps_the_checkpoint(tmp_path: Path, fault: str, message: str) -> None:
    model = small_model()
    optimizer = adam(model.parameters())
    calls = 0

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        value = ((outputs - targets) ** 2).mean()
        if calls == 7 and fault == "gradient":
            return value + (model[4].bias * 0).abs().sqrt().sum()
        if calls == 7 and fault == "parameter":
            optimizer.register_step_post_hook(lambda *_: model[0].weight.data[1, :2].fill_(torch.inf))
        return value * torch.nan if calls == 7 and fault == "loss" else value

    with pytest.raises(DivergedError, match=message) as caught:
        fit(
            model, optimizer, loss, (X, Y), epochs=EPOCHS, batch_size=BATCH, seed=8, folder=tmp_path, save_every=4
        )  # fmt: skip
    assert f"{tmp_path / 'checkpoint.pt'} holds the state after step 4." in caught.value.message
    assert isinstance(caught.value, ArithmeticError)
    assert weights(train(tmp_path, save_every=4)[0]) == weights(train(None)[0])  # from there it goes on


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 6}, "batch_size is 6 and was 5"),
        ({"seed": 9}, "seed is 9 and was 8"),
        ({"data": (X[:20], Y[:20])}, "samples is 20 and was 22"),
        ({"optimizer": OPTIMIZERS["sgd"]}, "optimizer is SGD and was Adam"),
        ({"optimizer": lambda p: torch.optim.Adam(p, 0.06, amsgrad=True)}, "lr of parameter group 0 is 0.06 and was 0"),
        ({"schedule": SCHEDULES["one cycle"]}, "scheduler is OneCycleLR and was None"),
    ],
    ids=["batch", "seed", "data", "optimizer", "rate", "scheduler"],
)
def test_another_run_is_not_resumed(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    train(tmp_path, epochs=1)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(InvalidInputError, match=f"is of another run: .*{message}"):
        train(tmp_path, **changes)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_rate_that_numpy_computes_is_the_same_rate(tmp_path: Path) -> None:
    model = small_model()
    optimizer = adam(model.parameters())
    powers = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: np.float64(0.9) ** step)
    for epochs in (1, 2):  # the second call gets the rate that the first one ended with
        options = {"epochs": epochs, "batch_size": BATCH, "scheduler": powers, "folder": tmp_path}
        assert len(fit(model, optimizer, torch.nn.MSELoss(), (X, Y), **options)) == epochs


def test_another_model_is_not_resumed(tmp_path: Path) -> None:
    train(tmp_path, epochs=1)
    model = torch.nn.Linear(3, 1)
    with pytest.raises(InvalidInputError, match=r"parameter weight is float32 \(1, 3\) and was None"):
        fit(
            model, adam(model.parameters()), torch.nn.MSELoss(), (X, Y), epochs=2, batch_size=5, seed=8, folder=tmp_path
        )


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    codes: list[int] = []
    train(tmp_path, Data(3, lambda: codes.append(in_child(intrude, tmp_path))))
    assert codes == [0]


def test_a_second_thread_is_kept_out_and_lets_no_other_process_in(tmp_path: Path) -> None:
    refused: list[str] = []

    def enter() -> None:
        with pytest.raises(InvalidInputError, match=r"This process is training in .* already") as caught:
            train(tmp_path)
        refused.append(caught.value.message)
        assert in_child(intrude, tmp_path) == 0

    def act() -> None:
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()

    train(tmp_path, Data(3, act))
    assert len(refused) == 1
    train(tmp_path)  # the folder is free again


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("random"),
        lambda state: state.update(model=None),
        lambda state: state.update(settings=[]),
        lambda state: state["model"].update({"0.weight": torch.zeros(4, 4)}),
        lambda state: state["place"].update(step=10**6),
        lambda state: state["place"].update(batch=-1),
        lambda state: state["epochs"].append({}),
    ],
    ids=range(7),
)
def test_a_file_with_other_contents_is_named_and_nothing_changes(tmp_path: Path, change: Any) -> None:
    train(tmp_path, epochs=1)
    metrics = (tmp_path / "metrics.jsonl").read_bytes()
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    change(state)
    save_checkpoint(tmp_path / "checkpoint.pt", state)
    with pytest.raises(InvalidInputError, match=r"checkpoint\.pt is no checkpoint or is damaged"):
        train(tmp_path)
    assert (tmp_path / "metrics.jsonl").read_bytes() == metrics


@pytest.mark.parametrize("state", [None, [], 3, {"model": {}}], ids=repr)
def test_a_file_of_something_else_is_named(tmp_path: Path, state: Any) -> None:
    save_checkpoint(tmp_path / "checkpoint.pt", state)
    with pytest.raises(InvalidInputError, match=r"checkpoint\.pt is no checkpoint or is damaged"):
        train(tmp_path)


def test_a_checkpoint_that_cannot_be_opened_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").symlink_to(tmp_path / "checkpoint.pt")
    with pytest.raises(OSError, match=r"checkpoint\.pt"):
        train(tmp_path)


@pytest.mark.parametrize(
    "line", ["nonsense", '{"step": "x"}', '{"loss": 1}', "[" * 100_000, '{"step": 7, "loss": []}', "3"], ids=range(6)
)
def test_a_bad_line_of_metrics_is_named_and_nothing_is_cut_off(tmp_path: Path, line: str) -> None:
    train(tmp_path, epochs=1)
    path = tmp_path / "metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], line, *lines[3:], ""]))
    before = path.read_bytes()
    with pytest.raises(InvalidInputError, match=r"metrics\.jsonl, line 4, is no line of metrics"):
        train(tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs is 0; an integer >= 1"),
        ({"epochs": np.uint64(2**63)}, "epochs is .*9223372036854775808.*; an integer >= 1"),
        ({"epochs": np.bool_(True)}, "epochs is .*True.*; an integer >= 1"),
        ({"batch_size": 2.5}, "batch_size is 2.5; an integer >= 1"),
        ({"seed": -1}, "seed is -1; an integer >= 0"),
        ({"seed": 2**128}, "seed is .*; an integer >= 0 of at most 128 bits"),
        ({"save_every": "x"}, "save_every is 'x'; a number of steps or a timedelta"),
        ({"save_every": 0}, "save_every is 0; a number of steps or a timedelta"),
        ({"save_every": timedelta(0)}, "save_every is datetime.timedelta"),
        ({"schedule_by": "year"}, "schedule_by is 'year'; 'step' or 'epoch'"),
        ({"data": (X, Y[:5])}, r"arrays of \[22, 5\] rows; a pair"),
        ({"data": (X[:0], Y[:0])}, "no samples"),
        ({"data": torch.utils.data.TensorDataset(X)}, "gives a tuple .* a pair"),
        ({"collate": lambda samples: samples}, "gives a list"),
    ],
    ids=range(14),
)
def test_bad_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        train(None, **changes)


def test_small_integers_of_numpy_are_taken_as_pythons() -> None:
    many = (X.repeat(20, 1), Y.repeat(20, 1))  # more samples than int8 has numbers
    sizes = {"epochs": 3, "batch_size": 100, "seed": 8, "save_every": 4}
    model, _ = train(None, many, **{name: np.int8(size) for name, size in sizes.items()})
    assert weights(model) == weights(train(None, many, **sizes)[0])


def test_a_loss_must_be_a_number() -> None:
    model = small_model()
    with pytest.raises(InvalidInputError, match=r"The loss has shape \(5, 1\)"):
        fit(model, adam(model.parameters()), lambda a, b: a - b, (X, Y), epochs=1, batch_size=5)


def test_a_missing_progress_bar_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qiskit_fusedqml.training.loop.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="progress=True needs tqdm: install"):
        train(None, progress=True)
    train(None)


# --- what it tells ---


def test_the_bar_tells_loss_and_samples(capsys: pytest.CaptureFixture[str]) -> None:
    train(None, progress=True, callback=lambda epoch: {"test": 0.25})
    told = capsys.readouterr().err
    assert re.search(r"training: 100%.*66.0/66.0 .*samples/s, loss=[\d.]+, epoch 2: loss=[\d.]+, test=0.25", told)
    train(None)
    assert capsys.readouterr().err == ""  # nobody watches


def test_metrics_have_a_line_a_step_and_one_an_epoch(tmp_path: Path) -> None:
    _, epochs = train(tmp_path, callback=lambda epoch: {"error": 1 / epoch.number})
    records = read_metrics(tmp_path / "metrics.jsonl")
    steps = [record for record in records if "loss" in record]
    assert [record["step"] for record in steps] == list(range(1, STEPS + 1))
    assert all(record["samples_per_second"] > 0 and record["learning_rate"] == 0.05 for record in steps)
    ends = [record for record in records if "mean_loss" in record]
    assert [(r["epoch"], r["mean_loss"], r["error"]) for r in ends] == [
        (e.number, e.loss, 1 / e.number) for e in epochs
    ]


def test_metrics_of_steps_that_are_run_again_are_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with pytest.raises(Cut):
        train(tmp_path, Data(9, cut), save_every=4)
    with path.open("a") as file:
        file.write('{"step": 10, "lo')  # as a kill leaves it
    assert read_metrics(path)[-1]["step"] == 9
    with pytest.raises(Cut):
        train(tmp_path, Data(0, cut), save_every=4)
    assert [record["step"] for record in read_metrics(path)] == [1, 2, 3, 4, 5, 5, 6, 7, 8]


def test_metrics_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(InvalidInputError, match=r"line 2, is no line of metrics: b'nonsense"):
        read_metrics(path)
    path.write_text("")
    with pytest.raises(InvalidInputError, match="holds no step yet"):
        plot(tmp_path)


def test_the_picture_shows_losses_and_metrics(tmp_path: Path) -> None:
    train(tmp_path, callback=lambda epoch: {"test": 0.1 * epoch.number, "train": 0.2})
    figure = plot(tmp_path, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    loss, metrics = figure.axes
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    expected = [json.loads(line)["loss"] for line in lines if '"loss"' in line]
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), expected)
    assert [line.get_label() for line in metrics.lines] == ["test", "train"]
    np.testing.assert_allclose(metrics.lines[0].get_ydata(), [0.1, 0.2, 0.3])
    assert all(tick == round(tick) for tick in metrics.get_xticks())
