"""Jumps forward to marks, as qiskit-aer has them: what lies between is a branch that is not taken."""

from __future__ import annotations

from dataclasses import dataclass, field

from ....errors import SimulationError
from ....ir.classical import Expression
from ....ir.dynamic import Branch, Node


@dataclass
class Jumps:
    """The jumps and marks of one list of nodes, while it is written."""

    _open: list[tuple[str, Expression | None, int]] = field(default_factory=list)
    _marks: set[str] = field(default_factory=set)

    def jump(self, mark: str, condition: Expression | None, nodes: list[Node]) -> None:
        """Note a jump from the end of the nodes written so far.

        Args:
            mark: Where to.
            condition: When; always if None.
            nodes: The nodes.
        """
        if mark in self._marks:
            raise SimulationError(f"A jump leads back to mark {mark!r}; only jumps forward are possible, and loops.")
        self._open.append((mark, condition, len(nodes)))

    def mark(self, mark: str, nodes: list[Node]) -> None:
        """End the jumps to a mark at the end of the nodes written so far.

        Raises:
            SimulationError: If there are two marks of this name, or another jump leads out of what is jumped over.
        """
        if mark in self._marks:
            raise SimulationError(f"There are two marks {mark!r}; each name marks one place.")
        self._marks.add(mark)
        while self._open and any(name == mark for name, _, _ in self._open):
            name, condition, start = self._open.pop()
            if name != mark:
                raise SimulationError(
                    f"A jump to mark {name!r} leads out of what a jump to mark {mark!r} passes over; jumps have to be "
                    "nested."
                )
            passed_over = tuple(nodes[start:])
            del nodes[start:]
            if condition is not None:
                nodes.append(Branch(condition, (), passed_over))

    def finish(self) -> None:
        """Expect no further mark.

        Raises:
            SimulationError: If a jump has none.
        """
        if self._open:
            raise SimulationError(f"A jump leads to mark {self._open[-1][0]!r}, which does not come after it.")
