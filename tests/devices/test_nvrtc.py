"""The CUDA kernels compiled for real GPUs: the text is CUDA, registers suffice, and stay what they were."""

from __future__ import annotations

import json

import pytest
from support import nvrtc
from support.registers import ARCHITECTURES, FILE, block_threads, compile_kernels

from qiskit_fusedqml.devices.gpu.sources import OPTIONS, kernel_names, source, sweep_name

pytestmark = pytest.mark.nvrtc

TABLE = json.loads(FILE.read_text())
"""For each architecture and kernel: registers, and bytes spilled; as of NVRTC 13.5."""

SWEEPS = [name for name in kernel_names() if "sweep" in name]
SMALL = [name for name in kernel_names() if "sweep" not in name]
LARGEST = [sweep_name(single, 4 if single else 3, warp=False, undo=True) for single in (True, False)]
"""A block of 512 threads leaves each of them 128 registers; all other sweeps have more than they need, and so have
these on sm_75, whose blocks are smaller."""

MORE_REGISTERS = 8
"""What another version of NVRTC may need more."""

MOST_SPILLED = 16
"""Bytes that the largest sweeps may keep in memory with another version of NVRTC: a few scalars, no amplitudes."""


def check(names: list[str], architecture: str) -> None:
    for name, kernel in zip(names, compile_kernels(names, architecture), strict=True):
        assert kernel.registers <= TABLE[architecture][name][0] + MORE_REGISTERS, name
        assert kernel.spilled <= (MOST_SPILLED if name in LARGEST else 0), name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_small_kernels(architecture):
    check(SMALL, architecture)


@pytest.mark.parametrize("name", LARGEST)
def test_the_largest_sweeps_for_hopper(name):
    check([name], "sm_90")


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", SWEEPS)
def test_all_sweeps(name, architecture):
    check([name], architecture)


def test_the_table_is_complete_and_nothing_spills():
    assert set(TABLE) == set(ARCHITECTURES)
    for architecture, kernels in TABLE.items():
        assert set(kernels) == set(kernel_names())
        assert all(registers <= 255 and not spilled for registers, spilled in kernels.values())
        assert all(kernels[name][0] <= 65536 // block_threads(architecture) for name in LARGEST)


def test_the_check_sees_spills_and_errors(monkeypatch):
    monkeypatch.setitem(TABLE["sm_90"], SMALL[0], [1, 0])
    with pytest.raises(AssertionError, match=SMALL[0]):
        check(SMALL[:1], "sm_90")
    limit = "__launch_bounds__(block_threads<warp, measured>, least_blocks<warp, undo, measured>)"
    assert limit in source()
    starved = source().replace(limit, "__launch_bounds__(1024, 2)")
    (kernel,) = nvrtc.compile_kernels(starved, [sweep_name(True, 2, True, True)], "sm_90", OPTIONS)
    assert kernel.spilled > MOST_SPILLED
    wrong = source().replace("constexpr unsigned whole_warp = 0xffffffffu;", "constexpr unsigned whole_warp = all;")
    with pytest.raises(RuntimeError, match=r"base\.cuh\(\d+\): error"):
        nvrtc.compile_kernels(wrong, SMALL[:1], "sm_90", OPTIONS)
