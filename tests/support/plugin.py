"""The PennyLane devices under their names, also where the package is on the path without being installed."""

from __future__ import annotations

from importlib.metadata import EntryPoint

from pennylane.devices import device_constructor

DEVICES = {"fusedqml.qubit": "FusedQubit", "fusedqml.mixed": "FusedMixed"}


def register() -> None:
    """Make ``qml.device("fusedqml.qubit")`` and ``qml.device("fusedqml.mixed")`` work in this process."""
    for name, kind in DEVICES.items():
        if name not in device_constructor.plugin_devices:
            entry = EntryPoint(name, f"qiskit_fusedqml.interfaces.pennylane:{kind}", "pennylane.plugins")
            device_constructor.plugin_devices[name] = entry
