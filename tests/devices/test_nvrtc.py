"""The CUDA kernels compiled for real GPUs: the text is CUDA, registers suffice, and stay what they were."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from devices import nvrtc
from devices.emulation.runtime import SMALL_KERNELS

from qiskit_fusedqml.devices.gpu.sources import OPTIONS, kernel_name, source, sweep_name

pytestmark = pytest.mark.nvrtc

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100", "sm_120")
TABLE = json.loads((Path(__file__).parent / "registers.json").read_text())
"""For each architecture and kernel: registers, and bytes spilled; as of NVRTC 13.5."""

SMALL = [kernel_name(kernel, single) for kernel in SMALL_KERNELS for single in (True, False)]
LARGEST = [sweep_name(single, 4 if single else 3, warp=False, undo=True) for single in (True, False)]
"""A block of 512 threads leaves each of them 128 registers; all other sweeps have more than they need."""

SWEEPS = [
    sweep_name(single, w, warp, undo)
    for single in (True, False)
    for w, warp in ((1, True), (2, True), (3, True), (4 if single else 3, False))
    for undo in (False, True)
]
MORE_REGISTERS = 8
"""What another version of NVRTC may need more."""

MOST_SPILLED = 24
"""Bytes: a few scalars of the largest sweeps, none of a tile's amplitudes."""


def check(names: list[str], architecture: str) -> None:
    for name, kernel in zip(names, nvrtc.compile_kernels(source(), names, architecture, OPTIONS), strict=True):
        assert kernel.registers <= TABLE[architecture][name][0] + MORE_REGISTERS, name
        assert kernel.spilled <= MOST_SPILLED, name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_small_kernels(architecture):
    check(SMALL, architecture)


@pytest.mark.parametrize("name", LARGEST)
def test_the_largest_sweeps_for_hopper(name):
    check([name], "sm_90")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SWEEPS if name not in LARGEST])
def test_all_sweeps_for_hopper(name):
    check([name], "sm_90")


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [a for a in ARCHITECTURES if a != "sm_90"])
@pytest.mark.parametrize("name", LARGEST)
def test_the_largest_sweeps(name, architecture):
    check([name], architecture)


def test_the_table_is_complete_and_no_amplitude_spills():
    assert set(TABLE) == set(ARCHITECTURES)
    for architecture, kernels in TABLE.items():
        assert set(kernels) == {*(SWEEPS if architecture == "sm_90" else LARGEST), *SMALL}
        assert all(registers <= 255 and spilled <= MOST_SPILLED for registers, spilled in kernels.values())
        assert all(kernels[name][0] <= 128 for name in LARGEST)


def test_the_check_sees_spills_and_errors(monkeypatch):
    monkeypatch.setitem(TABLE["sm_90"], SMALL[0], [1, 0])
    with pytest.raises(AssertionError, match="fill_tables"):
        check(SMALL[:1], "sm_90")
    starved = source().replace("__launch_bounds__(warp ? warp_block : 512, 1)", "__launch_bounds__(1024, 2)")
    (kernel,) = nvrtc.compile_kernels(starved, [sweep_name(True, 2, True, True)], "sm_90", OPTIONS)
    assert kernel.spilled > MOST_SPILLED
    wrong = source().replace("constexpr unsigned whole_warp = 0xffffffffu;", "constexpr unsigned whole_warp = all;")
    with pytest.raises(RuntimeError, match=r"base\.cuh\(\d+\): error"):
        nvrtc.compile_kernels(wrong, SMALL[:1], "sm_90", OPTIONS)
