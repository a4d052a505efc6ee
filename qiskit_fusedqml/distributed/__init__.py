"""Batches and jobs spread over processes and machines: `ShardedCircuit`, and tasks of any executor."""

from __future__ import annotations

from .circuit import ShardedCircuit

__all__ = ["ShardedCircuit"]
