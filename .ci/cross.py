"""Compile the native code for Windows and for Apple's arm64, by the cross compiler of the package ziglang.

    python .ci/cross.py FOLDER [JOBS]

Every source becomes an object file in FOLDER, with the options of CMakeLists.txt and without a warning. Nothing is
linked, for Python's libraries of those systems are not here. Its headers are; only pyconfig.h differs on Windows.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nanobind

TARGETS = ("x86_64-windows-gnu", "aarch64-macos")

PACKAGE = Path(__file__).parent.parent / "qiskit_fusedqml"

SIZES = {"SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8, "WCHAR_T": 2, "VOID_P": 8}
SIZES |= {"SIZE_T": 8, "TIME_T": 8, "OFF_T": 4, "FPOS_T": 8, "PID_T": 4}

WINDOWS_CONFIG = "\n".join([
    *(f"#define {name}" for name in ("MS_WIN32", "MS_WIN64", "MS_WINDOWS", "NT_THREADS", "WITH_THREAD")),
    "#define HAVE_PY_SSIZE_T 1",
    "typedef long long Py_ssize_t;",
    "#define PY_SSIZE_T_MAX LLONG_MAX",
    *(f"#define SIZEOF_{name} {size}" for name, size in SIZES.items()),
    "",
])  # fmt: skip
"""What Python's headers have to know about Windows."""


def sources(target: str) -> Iterator[tuple[Path, list[str]]]:
    """The sources for a system, each with the options that CMakeLists.txt gives it."""
    for part in ("devices", "planner"):
        folder = PACKAGE / part / "native"
        text = (folder / "CMakeLists.txt").read_text()
        (common,) = re.findall(r"target_compile_options\(\w+ PRIVATE ([^)]*)\)", text)
        of_file = dict(re.findall(r'set_source_files_properties\((\S+) PROPERTIES COMPILE_OPTIONS\s+"([^"]*)"\)', text))
        for path in sorted(folder.glob("*.cpp")):
            own = of_file.get(path.name, "").split(";") if path.name in of_file else []
            if not own or target.startswith("x86_64"):
                yield path, [*common.split(), *own]


def compile_for(target: str, folder: Path, jobs: int) -> int:
    """Compile all sources for a system; their number."""
    shutil.rmtree(folder, ignore_errors=True)
    headers = folder / "include"
    shutil.copytree(sysconfig.get_path("include"), headers)
    if "windows" in target:
        (headers / "pyconfig.h").write_text(WINDOWS_CONFIG)
    options = ["-target", target, "-std=c++17", "-Werror", "-isystem", str(headers), "-isystem", nanobind.include_dir()]
    if target.startswith("x86_64"):
        options.append("-DFUSEDQML_X86")

    def compiled(source: tuple[Path, list[str]]) -> None:
        path, own = source
        output = folder / f"{path.parent.parent.name}-{path.stem}.o"
        command = [sys.executable, "-m", "ziglang", "c++", *options, *own, "-c", str(path), "-o", str(output)]
        subprocess.run(command, check=True)

    with ThreadPoolExecutor(jobs) as pool:
        return len(list(pool.map(compiled, sources(target))))


if __name__ == "__main__":
    for name in TARGETS:
        count = compile_for(name, Path(sys.argv[1]).resolve() / name, int(sys.argv[2]) if sys.argv[2:] else 2)
        print(f"{name}: {count} files compiled")
