"""Circuits as layers of PyTorch networks; needs the extra ``torch``."""

from .layer import FusedLayer

__all__ = ["FusedLayer"]
