"""Runs dynamic programs: measurements, resets, saves and control flow in the middle.

A *lane* is a trajectory: a state and classical values that one or more shots share. Every row of parameter values
starts as one lane; a random outcome splits a lane into as many as there are outcomes drawn, so that no state is
computed twice and nothing is done shot by shot. All lanes go through a segment together, as the batch of the engine.

==============  =====================================================================================================
`states`        the states of lanes, on the device or cut by a measurement
`lanes`         lanes and the shots they stand for: drawing, splitting, joining
`saving`        what save instructions keep, reduced over lanes
`sampling`      outcomes drawn from probabilities
`found`         what the shots have found, gathered over chunks of them
`runner`        `Runner`, which walks the nodes
==============  =====================================================================================================
"""

from __future__ import annotations

from .runner import RowResult, Runner
from .sampling import Shots
from .saving import Saved

__all__ = ["RowResult", "Runner", "Saved", "Shots"]
