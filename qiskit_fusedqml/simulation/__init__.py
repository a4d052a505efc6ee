"""Runs dynamic programs: circuits that measure, reset, save and branch before their end.

A **trajectory** is a state and classical values that one or more shots share. What comes before the first random
instruction is run once for each distinct parameter set; then every parameter set is one trajectory that stands for
all of its shots. A measurement parts the shots of a trajectory by their outcomes, so that no state is computed twice
and nothing is done shot by shot. All trajectories at one place of the program go through it as one batch of the
engine.

**Noise.** On a device for mixed states there are density matrices, and channels and resets are nothing random. On
others every shot goes on with the state that one Kraus operator of a channel leaves (`kraus`), and shots part as they
do by outcomes. Bits are misread where they are measured or, if they decide nothing, at the end. Where there is Pauli
noise only, and measurements at the end only, errors become signs of angles instead (`pauli_shots`).

**Branches.** A program is flat code with jumps. The trajectories with the least address go first, so that those that
have parted meet again where their branches end; at the end of the code they are measured and let go, one by one or
together.

**Memory.** A quarter is for shots, the rest for states: eight for each trajectory at work, two for each that waits. If
there would be more than fit, the run begins again with half of the shots at a time; one shot needs four states. Results
and saved values that do not fit are refused.

**Seeds.** A random number is a function of the parameter set's key, the shot and how many measurements the shot has
had. Results therefore depend neither on the memory nor on what else is run, but for the rounding of probabilities.

==============  =====================================================================================================
`runner`        `Runner`: a compiled program and its runs
`interpreter`   runs programs for trajectories, as flat code: branches and loops as jumps
`trajectories`  trajectories: states, classical values and shots; measuring, parting, joining; random numbers
`states`        states of trajectories: amplitudes of pure ones, Pauli vectors of mixed ones
`kraus`         channels on pure states: one Kraus operator a shot, at random
`pauli_shots`   shots under Pauli noise whose measurements are at the end
`sampling`      outcomes drawn from probabilities, and the classical bits they are written to
`saving`        what save instructions keep, reduced over shots
==============  =====================================================================================================
"""

from __future__ import annotations

from .runner import Outcomes, Request, Runner
from .sampling import Shots
from .saving import Saved

__all__ = ["Outcomes", "Request", "Runner", "Saved", "Shots"]
