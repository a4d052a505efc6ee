"""Judge a wheel: its size, the symbols it shows and asks for, and that it runs where nothing can be compiled.

    python .ci/wheel.py WHEEL FOLDER [REQUIREMENT ...]

An environment in FOLDER gets the wheel with its extras, and the requirements, as binary packages. It runs the README's
examples and the quick demo with a PATH in which there is no compiler.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

MOST_BYTES = 8_000_000
COMPILERS = ("cc", "c++", "gcc", "g++", "clang", "clang++", "cmake", "ninja", "make")


def judge(wheel: Path) -> None:
    """Check a wheel's size and the symbols that its modules show; print what of the system it needs."""
    size = wheel.stat().st_size
    print(f"{wheel.name}: {size / 1e6:.2f} MB")
    if size > MOST_BYTES:
        sys.exit(f"At most {MOST_BYTES / 1e6:.0f} MB are allowed.")
    subprocess.run([sys.executable, "-m", "auditwheel", "show", str(wheel)], check=True)
    if "abi3" in wheel.name:
        subprocess.run([sys.executable, "-m", "abi3audit", "--strict", "--summary", str(wheel)], check=True)
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        modules = [name for name in archive.namelist() if name.endswith(".so")]
        for name in modules:
            path = archive.extract(name, folder)
            table = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True)
            shown = [line.split()[-1] for line in table.stdout.splitlines()]
            print(f"{name}: {Path(path).stat().st_size / 1e6:.2f} MB, shows {len(shown)} symbols")
            own = [symbol for symbol in shown if symbol.startswith("PyInit_") or "fusedqml" in symbol]
            if own != [
                f"PyInit_{Path(name).name.partition('.')[0]}"
            ]:  # the others are the standard library's, and weak
                sys.exit(f"Of its own a module shows its initialisation only, not {', '.join(own)}.")
    if len(modules) != 2:
        sys.exit(f"Two compiled modules are expected, got {modules}.")


def run(wheel: Path, folder: Path, requirements: list[str]) -> None:
    """Install a wheel into a new environment and run what the README shows, without a compiler."""
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    scripts = folder / "bin"
    environment = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
    environment |= {"PATH": str(scripts), "HOME": str(folder)}
    for name in COMPILERS:
        if shutil.which(name, path=environment["PATH"]):
            sys.exit(f"There is a compiler: {name}.")
    python = str(scripts / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    subprocess.run([*pip, f"{wheel}[ml,torch,pennylane,demo]", *requirements], env=environment, check=True)
    check = str(Path(__file__).with_name("wheel_check.py").resolve())
    subprocess.run([python, "-P", check, "--demo"], env=environment, cwd=folder, check=True)


if __name__ == "__main__":
    found, target = Path(sys.argv[1]), Path(sys.argv[2]).resolve()
    if not re.fullmatch(r"qiskit_fusedqml-.*\.whl", found.name):
        sys.exit(f"{found} is no wheel of this package.")
    judge(found)
    run(found, target, sys.argv[3:])
