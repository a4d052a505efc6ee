"""What is shown of a plan, as text and in notebooks: its size, an account of its work, its blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Protocol

from .cost import Work

SHOWN_BLOCKS = 20
"""At most this many blocks are listed, the first ones and the last."""

WAYS = ("forward", "backward")
"""Sweeps that work is done in."""

UNITS = {"fma": "multiply-adds", "bytes": "bytes, slow memory"}
"""What work is counted in -> what it is called."""


class AnyBlock(Protocol):
    """A block of a tape of either kind."""

    @property
    def tile(self) -> Sequence[int]:
        """Dimensions of what is brought together in fast memory."""

    @property
    def operations(self) -> Sequence[Any]:
        """What is applied there, in forward order."""

    @property
    def undo_from(self) -> int:
        """Position of the first operation that the backward sweep undoes."""


def account(work: Work, baseline: Work) -> dict[str, float]:
    """A plan's work and that of one instruction at a time, as entries of its summary."""
    return {
        "forward_fma": work.forward,
        "backward_fma": work.backward,
        "forward_bytes": work.forward_bytes,
        "backward_bytes": work.backward_bytes,
        "gate_by_gate_forward_fma": baseline.forward,
        "gate_by_gate_backward_fma": baseline.backward,
        "gate_by_gate_forward_bytes": baseline.forward_bytes,
        "gate_by_gate_backward_bytes": baseline.backward_bytes,
    }


@dataclass(frozen=True)
class Report:
    """What is shown of a plan.

    Attributes:
        per: What work is counted by: an amplitude, or a Pauli string.
        dimension: What a dimension of a tile is called.
        summary: The plan's summary.
        blocks: The blocks of its tape.
        shares: The part of the state that each block works on.
        notes: Lines after the blocks.
    """

    per: str
    dimension: str
    summary: Mapping[str, float | int]
    blocks: Sequence[AnyBlock]
    shares: Sequence[float]
    notes: Sequence[str] = ()

    @property
    def title(self) -> str:
        """Sizes of the circuit and of the plan."""
        sizes = self.summary
        real = ", real amplitudes" if sizes.get("is_real") else ""
        return (
            f"{counted(sizes['num_qubits'], 'qubit')}{real}, {counted(sizes['instructions'], 'instruction')} -> "
            f"{counted(sizes['operations'], 'operation')} in {counted(sizes['blocks'], 'block')}"
        )

    def rows(self) -> list[tuple[str, list[float], str]]:
        """For each unit its name; forward, backward, both one instruction at a time; what is saved."""
        found = []
        for unit, label in UNITS.items():
            names = [
                f"{way}_{unit}" for way in ("forward", "backward", "gate_by_gate_forward", "gate_by_gate_backward")
            ]
            numbers = [float(self.summary[name]) for name in names]
            ours, theirs = sum(numbers[:2]), sum(numbers[2:])
            found.append((label, numbers, f"{theirs / ours:.1f}x" if ours else "-"))
        return found

    def listed(self) -> list[str]:
        """A line a block, of long plans the first ones and the last, and the notes."""
        indices = list(range(len(self.blocks)))
        hidden = len(indices) - SHOWN_BLOCKS
        if hidden > 0:
            indices = [*indices[: SHOWN_BLOCKS - 1], indices[-1]]
        lines = [self._of_block(index) for index in indices]
        if hidden > 0:
            lines.insert(-1, f"... {counted(hidden, 'more block')}")
        return [*lines, *self.notes]

    def _of_block(self, index: int) -> str:
        block, share = self.blocks[index], self.shares[index]
        kinds = Counter(type(operation).__name__ for operation in block.operations)
        content = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
        part = f" on 1/{1 / share:.0f} of the state" if share < 1.0 else ""
        undone = len(block.operations) - block.undo_from
        tile = f"tile of {counted(len(block.tile), self.dimension)}"
        return f"block {index}: {tile}{part}, {content}; {undone} undone backward"

    def __str__(self) -> str:
        per = f"per {self.per} and sample"
        lines = [
            f"Plan: {self.title}",
            f"{'':<26}{'this plan':^22}{'one gate at a time':^26}",
            f"{per:<26}{'forward':>10}{'backward':>12}{'forward':>13}{'backward':>13}{'saved':>9}",
        ]
        for label, numbers, saved in self.rows():
            widths = zip(numbers, (10, 12, 13, 13), strict=True)
            lines.append(f"{label:<26}{''.join(f'{number:>{width}.0f}' for number, width in widths)}{saved:>9}")
        return "\n".join([*lines, *(f"  {line}" for line in self.listed())])

    def html(self) -> str:
        """The same for a notebook."""
        heads = {"": ("",), "this plan": WAYS, "one gate at a time": WAYS, "saved": ("",)}
        rows = [[label, *(f"{number:,.0f}" for number in numbers), saved] for label, numbers, saved in self.rows()]
        items = "".join(f"<li>{escape(line)}</li>" for line in self.listed())
        caption = f"Plan: {self.title}; per {self.per} and sample"
        return f"{table(caption, rows, heads)}<ul>{items}</ul>"


def counted(number: float, noun: str) -> str:
    """A number of things: 1 qubit, 2 qubits."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def table(caption: str, rows: Iterable[Sequence[object]], heads: Mapping[str, Sequence[str]] | None = None) -> str:
    """An HTML table for a notebook, its caption above it; a head stands above those of its columns."""
    lines = [_line("td", row) for row in rows]
    if heads:
        groups = "".join(
            f"<th colspan='{len(columns)}' style='text-align: center'>{escape(name)}</th>"
            for name, columns in heads.items()
        )
        lines[:0] = [f"<tr>{groups}</tr>", _line("th", [column for columns in heads.values() for column in columns])]
    caption = f"<caption style='caption-side: top; text-align: left'>{escape(caption)}</caption>"
    return f"<table style='min-width: 20em; text-align: right'>{caption}{''.join(lines)}</table>"


def _line(tag: str, cells: Iterable[object]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(str(cell))}</{tag}>' for cell in cells)}</tr>"
