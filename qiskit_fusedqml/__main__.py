"""The command line: ``python -m qiskit_fusedqml info | calibrate | demo``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

INTERRUPTED = 130
"""Exit status of a program that Ctrl-C ended: 128 + SIGINT."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What follows the program's name; by default this process's own.

    Returns:
        The exit status: 0, 1 for an error that was explained on standard error, 130 for Ctrl-C.
    """
    parsed = _parser().parse_args(arguments)
    try:
        _COMMANDS[parsed.command](parsed)
    except KeyboardInterrupt:
        print("Stopped by Ctrl-C.", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        return _refuse(error)
    except Exception as error:
        from .errors import FusedQMLError

        if isinstance(error, FusedQMLError):
            return _refuse(error)
        raise
    return 0


def _refuse(error: Exception) -> int:
    # QiskitError's str() quotes the message
    message = getattr(error, "message", None) or str(error)
    print(f"error: {message}", file=sys.stderr)
    return 1


def _info(_: argparse.Namespace) -> None:
    from .devices.info import describe

    print(describe())


def _calibrate(parsed: argparse.Namespace) -> None:
    from .calibrate import calibrate, show

    report = partial(print, flush=True)
    show(report) if parsed.show else calibrate(parsed.output, report)


def _demo(parsed: argparse.Namespace) -> None:
    from .demo import Options, require_extras

    require_extras()
    from .demo.run import run

    given = {field.name: getattr(parsed, field.name) for field in fields(Options)}
    values: dict[str, Any] = {"epochs": 3, "samples": 200, "stock_samples": 1} if parsed.quick else {}
    values.update({name: value for name, value in given.items() if value is not None})
    run(Options(**values))


_COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {"info": _info, "calibrate": _calibrate, "demo": _demo}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m qiskit_fusedqml", description="Fast quantum machine learning.")
    commands = parser.add_subparsers(dest="command", required=True, metavar=" | ".join(_COMMANDS))
    commands.add_parser("info", help="versions, CPU, threads, CUDA")
    calibrate = commands.add_parser("calibrate", help="measure what the planner has to know about this machine")
    what = calibrate.add_mutually_exclusive_group()
    what.add_argument("--show", action="store_true", help="print the numbers in use and measure nothing")
    what.add_argument("--output", type=Path, metavar="FILE", help="where the table goes (the user's cache folder)")
    demo = commands.add_parser("demo", help="train a quantum neural network on handwritten digits")
    add = demo.add_argument
    # the defaults are those of demo.Options, whose import would make --help slow
    add("--qubits", type=_number(2, 24), help="qubits, each with one feature (8)")
    add("--layers", type=_number(1), help="layers of weights (6)")
    add("--classes", type=_number(2), help="the first so many labels are told apart (4)")
    add("--epochs", type=_number(1), help="passes through the training images (15)")
    add("--batch-size", type=_number(1), help="samples in a step (32)")
    add("--samples", type=_number(1), help="use at most so many training images (all)")
    add("--stock-samples", type=_number(1), help="run the stock gradient on so many samples (2)")
    add("--seed", type=_number(0, 2**32 - 1), help="seed of everything random (0)")
    add("--threads", type=_number(1), help="threads (the cores there are)")
    add("--data", type=Path, metavar="DIR", help="folder with MNIST-format IDX files, gzipped or not")
    add("--output", type=Path, metavar="FILE", help="where the picture goes (demo-output/digits.png)")
    add("--quick", action="store_true", help="a look in seconds: 3 epochs, 200 images, the stock gradient on 1 sample")
    return parser


def _number(low: int, high: int | None = None) -> Any:
    def whole_number(text: str) -> int:
        value = int(text)
        if value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"{value}; {low} or more is allowed" + (f", up to {high}" if high else ""))
        return value

    return whole_number


if __name__ == "__main__":
    sys.exit(main())
