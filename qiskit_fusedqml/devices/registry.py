"""Devices by name. What is there for a GPU is imported when one is asked for, so that a start without one is quick."""

from __future__ import annotations

from ..arrays import shown
from ..errors import DeviceUnavailableError, InvalidInputError
from . import Device
from .checks import check_options
from .cpu import CPUDevice
from .pauli_vector.cpu import CPUPauliDevice
from .pauli_vector.device import MixedStateDevice
from .pauli_vector.reference import ReferencePauliDevice
from .reference import ReferenceDevice

DEVICES = ("CPU", "GPU", "reference")


def make_device(device: str | Device, *, precision: str = "double", num_threads: int | None = None) -> Device:
    """The device of a name, or the device itself if one is given.

    Args:
        device: "CPU", "GPU", "reference" (slow, double only), or a `Device`.
        precision: "double" or "single".
        num_threads: Threads of the CPU device; None for the cores this process may use, capped by OMP_NUM_THREADS.

    Raises:
        InvalidInputError: For an unknown name or precision.
        DeviceUnavailableError: For "GPU" without CuPy or without a GPU.
    """
    check_options(precision, num_threads)
    check_device(device)
    match device:
        case "CPU":
            return CPUDevice(precision=precision, num_threads=num_threads)
        case "reference":
            if precision != "double":
                raise InvalidInputError("The reference device computes in double precision only.")
            return ReferenceDevice()
        case "GPU":
            from .gpu.device import GPUDevice
            from .gpu.runtime import Runtime

            return GPUDevice(Runtime(), precision)
    assert not isinstance(device, str)
    return device


def make_mixed_device(device: str | Device, *, precision: str = "double", num_threads: int | None = None) -> Device:
    """The device for mixed states that goes with a device; arguments as of `make_device`.

    Raises:
        InvalidInputError: As of `make_device`.
        DeviceUnavailableError: If there is none.
    """
    made = make_device(device, precision=precision, num_threads=num_threads)
    if isinstance(made, MixedStateDevice):
        return made
    if isinstance(made, ReferenceDevice):
        return MixedStateDevice(ReferencePauliDevice())
    if isinstance(made, CPUDevice):
        return MixedStateDevice(CPUPauliDevice(made.precision, made.num_threads), made.precision)
    if made.name == "GPU":
        from .gpu.device import GPUDevice
        from .pauli_vector.gpu import GPUPauliDevice

        if isinstance(made, GPUDevice):
            return MixedStateDevice(GPUPauliDevice(made.runtime, made.precision), made.precision)
    raise DeviceUnavailableError(
        f"The device {made.name} has no mixed states; exact noise runs on {', '.join(map(repr, DEVICES))}, "
        "trajectories on every device."
    )


def check_device(device: object) -> None:
    """Raise InvalidInputError for what is neither a device's name nor a device."""
    known = device in DEVICES if isinstance(device, str) else hasattr(device, "cost_model")
    if not known or isinstance(device, type):
        raise InvalidInputError(
            f"device is {shown(device)}; one of {', '.join(map(repr, DEVICES))}, or a Device, is expected."
        )
