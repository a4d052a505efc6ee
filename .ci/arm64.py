"""Tests on arm64, emulated: the native code by Debian's cross compiler, Debian's Python and PyPI's packages by QEMU.

    python .ci/arm64.py FOLDER JOBS [PYTEST ARGUMENT ...]

FOLDER keeps the root, whose packages are unpacked and never configured, so that nothing is emulated but the tests. It
needs Linux, root, and Debian's packages debootstrap, qemu-user-static, binfmt-support and g++-aarch64-linux-gnu.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nanobind
from cross import PACKAGE, sources

SUITE, PYTHON = "trixie", "3.13"
"""Debian's release, and the Python that it has."""

COMPILER = "aarch64-linux-gnu-g++"
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
TESTS = ("tests/devices/test_cpu.py", "tests/devices/pauli_vector/test_cpu.py", "tests/devices/test_coefficients.py",
         "tests/ir/test_gates.py", "tests/planner/test_compiled.py", "tests/engine/test_engine.py",
         "tests/interfaces/qiskit/test_estimator.py", "tests/interfaces/qiskit/test_backend.py")  # fmt: skip
PROCESSOR = "neoverse-n1"
"""What QEMU is to be: a server's processor without pointer authentication, at which Debian's programs spend four fifths
of their time in QEMU's default."""

NEEDED = ("debootstrap", "dpkg-deb", "qemu-aarch64-static", COMPILER, "aarch64-linux-gnu-objdump")

BINFMT = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")

MOST_SCALAR = 0.1
"""Share of the sweeps' floating-point instructions that may work on one number: sums at the end, coefficients."""

LEAST_FUSED = 0.5
"""Share of those on vectors that have to be fused multiply-adds."""


def make_root(folder: Path) -> Path:
    """Debian's Python for arm64."""
    root = folder / "root"
    if (root / "made").exists():
        return root
    shutil.rmtree(root, ignore_errors=True)
    options = ["--foreign", "--arch=arm64", "--variant=minbase", f"--include=libpython{PYTHON}-dev,python{PYTHON}"]
    subprocess.run(["debootstrap", *options, SUITE, str(folder / "packages")], check=True)
    for package in sorted((folder / "packages").glob("var/cache/apt/archives/*.deb")):
        subprocess.run(["dpkg-deb", "-x", str(package), str(root)], check=True)
    shutil.rmtree(folder / "packages")
    (root / "made").touch()
    return root


def install(folder: Path) -> Path:
    """The packages that the tests need, as wheels for arm64."""
    site = folder / "site"
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    testing = [line for line in extras["dev"] if line.startswith(("hypothesis>", "pytest>", "pytest-xdist>"))]
    wanted = [*project["dependencies"], *extras["aer"], *testing]
    made = folder / "site-made"
    if made.exists() and made.read_text() == "\n".join(wanted):
        return site
    platforms = [f"--platform={name}" for name in PLATFORMS]
    tags = ["--implementation=cp", f"--python-version={PYTHON}", "--only-binary=:all:"]
    tags += [f"--abi={abi}" for abi in (f"cp{PYTHON.replace('.', '')}", "abi3", "none")]
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "-q", "--no-compile", "--upgrade"]
    subprocess.run([*pip, f"--target={site}", *platforms, *tags, *wanted], check=True)
    made.write_text("\n".join(wanted))
    return site


def build(root: Path, work: Path, jobs: int) -> None:
    """Compile both modules into a copy of the package."""
    for name in ("qiskit_fusedqml", "tests", "pyproject.toml"):
        origin = PACKAGE.parent / name
        if origin.is_dir():
            shutil.copytree(origin, work / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        else:
            shutil.copy(origin, work / name)
    own = Path(nanobind.include_dir()).parent
    include = ["-isystem", str(root / f"usr/include/python{PYTHON}"), "-isystem", nanobind.include_dir()]
    include += ["-isystem", str(own / "ext/robin_map/include"), "-idirafter", str(root / "usr/include")]
    common = [COMPILER, "-std=c++17", "-fPIC", "-fvisibility=hidden", "-DNDEBUG", *include]
    files = [*sources("aarch64"), (own / "src" / "nb_combined.cpp", ["-O2", "-fno-strict-aliasing"])]

    def compiled(source: tuple[Path, list[str]]) -> tuple[str, str]:
        path, options = source
        part = path.parent.parent.name
        output = work / f"{part}-{path.stem}.o"
        subprocess.run([*common, *options, "-c", str(path), "-o", str(output)], check=True)
        return part, str(output)

    with ThreadPoolExecutor(jobs) as pool:
        objects = list(pool.map(compiled, files))
    for part in ("devices", "planner"):
        mine = [output for owner, output in objects if owner in {part, own.name}]
        module = work / "qiskit_fusedqml" / part / f"_native.cpython-{PYTHON.replace('.', '')}-aarch64-linux-gnu.so"
        subprocess.run([COMPILER, "-shared", "-s", *mine, "-o", str(module)], check=True)


def look_at_sweeps(work: Path) -> None:
    """Count the floating-point instructions of the sweeps."""
    command = ["aarch64-linux-gnu-objdump", "-d", "--no-show-raw-insn", str(work / "devices-isa_baseline.o")]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    arithmetic = r"^\s+[0-9a-f]+:\s+(fmla|fmls|fmul|fadd|fsub|fneg|fmadd|fmsub|fnmadd|fnmsub|fnmul|fdiv)\s+([vds])\d"
    found = Counter(
        (kind, operation in {"fmla", "fmls"}) for operation, kind in re.findall(arithmetic, text, re.MULTILINE)
    )
    fused, vectors = found["v", True], found["v", True] + found["v", False]
    scalars = sum(found.values()) - vectors
    print(f"sweeps: {vectors} instructions on vectors, {fused} of them fused multiply-adds; {scalars} on one number")
    if scalars > MOST_SCALAR * (scalars + vectors) or fused < LEAST_FUSED * vectors:
        sys.exit("The sweeps are not what the vectors of arm64 allow.")


def main(folder: Path, jobs: int, arguments: list[str]) -> int:
    """Build and test; the exit status of pytest."""
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        sys.exit(f"Missing: {', '.join(missing)}. Debian: apt install debootstrap qemu-user-static binfmt-support "
                 "g++-aarch64-linux-gnu")  # fmt: skip
    if not BINFMT.exists():
        sys.exit("The kernel does not hand arm64's programs to QEMU: mount -t binfmt_misc binfmt_misc "
                 f"{BINFMT.parent}; update-binfmts --enable qemu-aarch64")  # fmt: skip
    root, site, work = make_root(folder), install(folder), folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    build(root, work, jobs)
    look_at_sweeps(work)
    imported = os.pathsep.join(map(str, (work, work / "tests", site)))
    environment = os.environ | {"QEMU_LD_PREFIX": str(root), "QEMU_CPU": PROCESSOR}
    environment |= {"PYTHONPATH": imported, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # else each process compiles all that it imports
    python = [str(root / f"usr/bin/python{PYTHON}"), "-m", "pytest", "-p", "no:cacheprovider", "-n", str(jobs)]
    paths = [] if any(argument.startswith("tests") for argument in arguments) else TESTS
    return subprocess.run([*python, *paths, *arguments], cwd=work, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), int(sys.argv[2]), sys.argv[3:]))
