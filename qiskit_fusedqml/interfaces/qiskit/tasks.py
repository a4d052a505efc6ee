"""Walks through what is nested deeper than Python's calls can be."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeAlias

Task: TypeAlias = Generator["Task | None", Any, Any]
"""Work in steps, each of which is another task to be done before the next step, or None.

``yield`` gives what that task has returned. An error ends all tasks; those around it do not see it.
"""


def carry_out(task: Task) -> Any:
    """Do a task and those that are its steps, without recursion; what it returns is returned."""
    stack, result = [task], None
    while stack:
        try:
            step = stack[-1].send(result)
        except StopIteration as end:
            stack.pop()
            result = end.value
        else:
            result = None
            if step is not None:
                stack.append(step)
    return result
