"""Print what must be installed before the package itself: its dependencies, the extras named, the build tools.

    python .ci/requirements.py [--oldest] [EXTRA ...]

``--oldest`` prints the lower bound of every run-time dependency as an exact version, so that the promise made in
pyproject.toml is tested. The package itself is then installed with ``pip install --no-build-isolation --no-deps .``.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

NINJA_AND_CMAKE = ["cmake>=3.26", "ninja"]
"""What scikit-build-core asks for at build time where the machine has none."""


def oldest(requirement: str) -> str:
    """``name>=1.2,<2; marker`` -> ``name==1.2; marker``."""
    return re.sub(r">=\s*([\d.]+)[^;]*", r"==\1", requirement)


def main(arguments: list[str]) -> None:
    """Print one requirement a line."""
    with (Path(__file__).parent.parent / "pyproject.toml").open("rb") as file:
        tables = tomllib.load(file)
    extras = [argument for argument in arguments if argument != "--oldest"]
    project = tables["project"]
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    if "--oldest" in arguments:
        wanted = [oldest(requirement) for requirement in wanted]
    print(*wanted, *tables["build-system"]["requires"], *NINJA_AND_CMAKE, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
