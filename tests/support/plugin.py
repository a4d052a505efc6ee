"""The PennyLane device under its name, also where the package is on the path without being installed."""

from __future__ import annotations

from importlib.metadata import EntryPoint

from pennylane.devices import device_constructor

NAME = "fusedqml.qubit"


def register() -> None:
    """Make ``qml.device("fusedqml.qubit")`` work in this process."""
    if NAME not in device_constructor.plugin_devices:
        entry = EntryPoint(NAME, "qiskit_fusedqml.interfaces.pennylane:FusedQubit", "pennylane.plugins")
        device_constructor.plugin_devices[NAME] = entry
