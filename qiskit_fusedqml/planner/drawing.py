"""The picture of a plan: operations on lines, blocks as tiles, and bytes and multiply-adds beside one gate at a time.

A line is a bit of the physical index, of a mixed state's Pauli string a qubit's two. Bit q begins as qubit q, unless
the frame is folded; a CX then only changes which lines the operations after it touch. An operation is drawn on these:

=========  ============================================================================================
squares    bits that it flips: the amplitudes that it mixes differ there
dots       bits whose parities it depends on without flipping them: sides, controls, the phases of `Diag`
pale       the backward sweep does not undo it, for no gradient before it is wanted
tile       the shaded lines of a block: what is brought together in fast memory
numbers    below a block: its own, and the bytes that it moves between slow and fast memory, forward and backward,
           per amplitude and sample
=========  ============================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from itertools import takewhile
from operator import or_
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..arrays import whole_number
from ..errors import InvalidInputError, MissingExtraError
from ..ir.qubits import bits
from .cost import Work
from .report import AnyBlock, Report, counted
from .tape import RY, U2, Dense, Diag, Pauli

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_COLUMNS = 32
"""Columns in one picture. What is wider than a page is shown smaller, and its words cannot be read."""

COLORS = {"Diag": "#5b8c5a", "RY": "#3b6fb6", "U2": "#3b6fb6", "Pauli": "#7d5ba6", "Dense": "#b5533c"} | {
    "Affine": "#3b6fb6", "Pair": "#5b8c5a", "Turn": "#7d5ba6", "Transfer": "#b5533c"
}  # fmt: skip
"""Kind of operation -> its colour."""

TILE, SPACE, PALE = "#dbe6f4", "#f5f5f5", 0.35
"""Colours of a block's tile and of the lines outside it, and how opaque is what is not undone."""


class DrawnPlan(Protocol):
    """A plan of either kind."""

    @property
    def tape(self) -> Any:
        """What the device runs."""

    @property
    def report(self) -> Report:
        """What is shown of it."""

    def traffic(self, block: Any) -> Work:
        """Bytes that a block moves."""


class Lines(NamedTuple):
    """What the lines of a picture are, and where an operation stands on them.

    Attributes:
        name: What a line is called.
        bits: Bits of the physical index that a line stands for.
        masks: From an operation to masks of the bits that it flips, and of those that it depends on.
    """

    name: str
    bits: int
    masks: Callable[[Any], tuple[int, int]]

    def of(self, mask: int) -> list[int]:
        """Lines of some bits, ascending."""
        return sorted({bit // self.bits for bit in bits(mask)})


class Mark(NamedTuple):
    """An operation: its kind, the lines of its squares and dots, whether the backward sweep undoes it, its column."""

    kind: str
    squares: list[int]
    dots: list[int]
    undone: bool
    column: int = 0

    @property
    def ends(self) -> tuple[int, int]:
        """The first and the last line."""
        lines = self.squares + self.dots
        return min(lines, default=0), max(lines, default=0)


def draw(plan: DrawnPlan, lines: Lines, first: int) -> Figure:
    """The picture; see `qiskit_fusedqml.planner.Plan.draw`."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("draw needs matplotlib: install qiskit-fusedqml[demo]") from error
    report, blocks = plan.report, plan.tape.blocks
    first = whole_number(first, "first", least=0)
    if first >= max(len(blocks), 1):
        raise InvalidInputError(f"first is {first}; the plan has {len(blocks)} blocks, numbered from 0.")
    drawn = list(_fitting(blocks[first:], lines))
    columns = sum(each.width for each in drawn)
    size = (min(max(8.0, 2.0 + 0.42 * columns), 10.0), 3.4 + 0.34 * plan.tape.num_qubits)
    figure = Figure(figsize=size, layout="constrained")
    rows = figure.add_gridspec(2, 2, height_ratios=[size[1] - 1.9, 1.9])
    _draw_blocks(figure.add_subplot(rows[0, :]), plan, lines, first, drawn)
    for position, (label, numbers, saved) in enumerate(report.rows()):
        title = f"{label}: {saved} saved\nper {report.per} and sample"
        _draw_account(figure.add_subplot(rows[1, position]), title, numbers)
    figure.suptitle(report.title.replace("->", "\u2192"), fontsize=11)
    return figure


def pure_masks(operation: Any) -> tuple[int, int]:
    """Bits that an operation of a `Tape` flips, and bits that it depends on."""
    match operation:
        case Diag(factors):
            return 0, union([functional for factor in factors for functional in factor.basis])
        case RY(x, w) | U2(x, w):
            return x, w
        case Pauli(x, z, _, controls):
            return x, z | union(controls)
        case Dense(xs, ws):
            return union(xs), union(ws)
        case _:
            raise AssertionError(operation)


def union(masks: Iterable[int]) -> int:
    """Bits that are set in any."""
    return reduce(or_, masks, 0)


class _DrawnBlock(NamedTuple):
    block: AnyBlock
    marks: list[Mark]
    width: int

    @property
    def hidden(self) -> int:
        """How many operations of a block that is wider than a picture are not drawn."""
        return len(self.block.operations) - len(self.marks)


def _fitting(blocks: Sequence[AnyBlock], lines: Lines) -> Iterator[_DrawnBlock]:
    """Blocks with their marks in columns, as long as these fit; of the first one, what fits of it."""
    used = 0
    for block in blocks:
        marks = list(takewhile(lambda mark: mark.column < MAX_COLUMNS, _in_columns(_marks(block, lines))))
        width = max((mark.column for mark in marks), default=0) + 2
        if used and (used + width > MAX_COLUMNS or len(marks) < len(block.operations)):
            return
        used += width
        yield _DrawnBlock(block, marks, width)


def _marks(block: AnyBlock, lines: Lines) -> Iterator[Mark]:
    for position, operation in enumerate(block.operations):
        flipped, used = map(lines.of, lines.masks(operation))
        dots = [line for line in used if line not in flipped]
        yield Mark(type(operation).__name__, flipped, dots, position >= block.undo_from)


def _in_columns(marks: Iterable[Mark]) -> Iterator[Mark]:
    """Each mark in the first column after all before it that cross its lines."""
    free: dict[int, int] = {}
    for mark in marks:
        crossed = range(mark.ends[0], mark.ends[1] + 1)
        column = max(free.get(line, 0) for line in crossed)
        free.update((line, column + 1) for line in crossed)
        yield mark._replace(column=column)


def _draw_blocks(axes: Axes, plan: DrawnPlan, lines: Lines, first: int, drawn: Sequence[_DrawnBlock]) -> None:
    n, left, height = plan.tape.num_qubits, 0, 0.96
    stages = {stage.first for stage in getattr(plan.tape, "stages", ())[1:]}
    names, beside = "block\nforward\nbackward", "offset points"
    axes.annotate(names, (0, n - 0.4), (-4, 0), textcoords=beside, ha="right", va="top", fontsize=7)
    for number, (block, marks, width) in enumerate(drawn, start=first):
        tile = lines.of(union(block.tile))
        colors = [TILE if line in tile else SPACE for line in range(n)]
        axes.barh(range(n), width - 0.1, height, left + 0.05, color=colors, zorder=0)
        if number in stages:
            axes.axvline(left, color="black", linestyle="--", linewidth=1)
        for mark in marks:
            _draw_mark(axes, left + mark.column + 1.0, mark)
        moved = plan.traffic(block)
        text = "\n".join([str(number), *map(_in_bytes, (moved.forward_bytes, moved.backward_bytes))])
        axes.text(left + width / 2, n - 0.4, text, ha="center", va="top", fontsize=7)
        left += width
    hidden = {
        "operation": sum(each.hidden for each in drawn),
        "block": len(plan.tape.blocks) - first - len(drawn),
    }
    more = ", ".join(counted(count, f"more {what}") for what, count in hidden.items() if count)
    if more:
        axes.text(left + 0.2, (n - 1) / 2, f"\u2026 {more}", rotation=90, va="center", fontsize=8)
    axes.hlines(range(n), 0, left, color="#999999", linewidth=0.6, zorder=1)
    axes.set(xlim=(0, left + bool(more)), ylim=(n + 1.3, -0.6), xticks=[])
    axes.set_yticks(range(n), labels=[f"{lines.name} {line}" for line in range(n)], fontsize=8)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    kinds = dict.fromkeys(mark.kind for each in drawn for mark in each.marks)
    for kind in kinds:
        axes.scatter([], [], marker="s", color=COLORS[kind], label=kind)
    if kinds:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(kinds), fontsize=8, frameon=False)


def _in_bytes(number: float) -> str:
    return f"{number:.3g} B" if number >= 0.01 or not number else "< 0.01 B"


def _draw_mark(axes: Axes, place: float, mark: Mark) -> None:
    color, alpha = COLORS[mark.kind], 1.0 if mark.undone else PALE
    axes.plot([place, place], mark.ends, color=color, alpha=alpha, linewidth=1.5, zorder=2)
    for shape, chosen, size in (("s", mark.squares, 70), ("o", mark.dots, 18)):
        axes.scatter([place] * len(chosen), chosen, size, color, marker=shape, alpha=alpha, linewidths=0, zorder=3)


def _draw_account(axes: Axes, title: str, numbers: Sequence[float]) -> None:
    """Forward and backward, as planned and one gate at a time."""
    forward, backward = numbers[::2], numbers[1::2]
    totals = [a + b for a, b in zip(forward, backward, strict=True)]
    axes.barh([0, 1], forward, color="#3b6fb6", label="forward")
    axes.barh([0, 1], backward, left=forward, color="#e08a2c", label="backward")
    for row, total in enumerate(totals):
        axes.annotate(f"{total:,.0f}", (total, row), (3, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks([0, 1], labels=["this plan", "one gate at a time"], fontsize=8)
    axes.set(ylim=(1.6, -0.6), xticks=[], xlim=(0, 1.2 * max(*totals, 1)))
    axes.set_title(title, fontsize=9, loc="left")
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(0, 0), ncols=2)
