"""CuPy's own interface, as far as it can be asked on a machine without a GPU: what the device uses of it is there."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest

from qiskit_fusedqml.devices.gpu import sources
from qiskit_fusedqml.devices.gpu.constants import BLOCK_THREADS
from qiskit_fusedqml.devices.gpu.runtime import Runtime, _ExternalStream
from qiskit_fusedqml.errors import DeviceUnavailableError

pytestmark = pytest.mark.cupy

ATTRIBUTES = [
    *("RawModule", "ndarray", "empty", "zeros", "asarray", "array", "ascontiguousarray", "asnumpy", "from_dlpack"),
    *("copyto", "get_default_memory_pool", "ndarray.set", "ndarray.get", "ndarray.copy", "ndarray.ravel"),
    *("ndarray.reshape", "ndarray.nbytes", "ndarray.device", "ndarray.__dlpack__", "ndarray.__dlpack_device__"),
    *("cuda.Device.id", "cuda.Device.attributes", "cuda.Device.__enter__", "cuda.Device.compute_capability"),
    *("cuda.Stream.from_external", "cuda.Stream.begin_capture", "cuda.Stream.end_capture", "cuda.Stream.synchronize"),
    *("cuda.get_current_stream", "cuda.Graph.launch", "cuda.Event", "cuda.get_elapsed_time"),
    *("cuda.function.CNumpyArray", "ndarray.data", "cuda.MemoryPointer.ptr"),
    *("cuda.runtime.streamIsCapturing", "ndarray.flags", "ndarray.dtype"),
    *("cuda.runtime.getDeviceCount", "cuda.runtime.CUDARuntimeError", "cuda.runtime.memGetInfo"),
    *("cuda.memory.OutOfMemoryError", "cuda.MemoryPool.free_bytes", "cuda.MemoryPool.free_all_blocks"),
    *("cuda.compiler.CompileException", "RawKernel.num_regs", "RawKernel.local_size_bytes"),
    *("RawKernel.max_dynamic_shared_size_bytes", "RawKernel.preferred_shared_memory_carveout"),
]

PARAMETERS = {
    "RawModule": ("code", "options", "name_expressions", "backend"),
    "RawKernel.__call__": ("grid", "block", "args", "kwargs"),
    "cuda.Graph.launch": ("stream",),
    "cuda.Stream.__init__": ("null", "non_blocking"),
    "cuda.Stream.from_external": ("obj",),
    "ascontiguousarray": ("dtype",),
    "array": ("dtype", "order"),
    "empty": ("shape", "dtype"),
}
"""Names of parameters, as in signatures or in the docstrings of compiled code."""


def found(path: str):
    import cupy

    value = cupy
    for name in path.split("."):
        value = getattr(value, name)
    return value


def signature(path: str) -> str:
    value = found(path)
    if inspect.isfunction(value):
        return str(inspect.signature(value))
    return (value.__doc__ or "").partition("\n\n")[0]


@pytest.mark.parametrize("path", ATTRIBUTES)
def test_attributes(path):
    assert found(path) is not None


@pytest.mark.parametrize("path", PARAMETERS)
def test_parameters(path):
    assert all(re.search(rf"\b{name}\b", signature(path)) for name in PARAMETERS[path]), signature(path)


def test_the_checks_see_what_is_missing():
    with pytest.raises(AttributeError):
        found("cuda.Stream.from_internal")
    assert not re.search(r"\bblocks\b", signature("RawKernel.__call__"))


def test_another_librarys_stream():
    import cupy

    assert cupy.cuda.Stream.from_external(_ExternalStream(0x7E57)).ptr == 0x7E57


def test_modules_are_made_of_the_text():
    """They are compiled when a function is asked for, which wants a device."""
    import cupy

    for name in ("fusedqml::bind_values", "fusedqml::set_state<float>"):
        parts, names = sources.compiled_with(name)
        text = sources.source(parts, BLOCK_THREADS[-1])
        assert cupy.RawModule(code=text, options=sources.OPTIONS, name_expressions=names) is not None


@pytest.mark.parametrize(
    "name", ["fusedqml::bind_values", "fusedqml::set_state<float>", "fusedqml::pauli_rows<double>"]
)
def test_cupys_compiler_takes_the_text(name):
    """With CuPy's wrapper of NVRTC and the options that it adds; names are found as they are spelled."""
    from cupy.cuda import compiler

    parts, names = sources.compiled_with(name)
    program = compiler._NVRTCProgram(sources.source(parts), "k.cu", name_expressions=names, method="cubin")
    options = (*sources.OPTIONS, "-ftz=true", "-arch=sm_90", "--device-as-default-execution-space")
    cubin, mangled = program.compile(options)
    assert len(cubin) > 1000
    assert set(mangled) == set(names)


def test_integers_are_passed_as_they_are():
    """CuPy passes NumPy's scalars in their own width."""
    values = sources.arguments("relabel", [None, None, None, 1, 2, 3])
    assert [type(value) for value in values[3:]] == [np.int32, np.int32, np.int64]


def test_a_machine_without_a_gpu_says_so():
    import cupy

    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError:
        count = 0
    if count:
        assert Runtime().limits.multiprocessors > 0
    else:
        with pytest.raises(DeviceUnavailableError, match="not available"):
            Runtime()
