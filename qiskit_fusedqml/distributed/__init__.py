"""Work over processes and machines: batches and jobs by executors, and one state over several ranks.

===============  =====================================================================================================
`circuit`        `ShardedCircuit`, whose batches an executor's workers compute; tasks of any executor
`communicators`  what ranks say to each other: over MPI, over `torch.distributed`, between threads
`agreement`      what ranks compare before a call, and how an error on one is the same error on all
`layouts`        where amplitudes lie among ranks, and what is exchanged to move them
`local_tapes`    the tape of one rank
`observables`    observables on a state over several ranks
`readout`        marginal probabilities, shots, logical indices
`ranks`          the ranks as a device sees them: calls, sums, exchanges
`device`         `DistributedDevice`: one state over 2**g ranks
`batches`        `RankBatches`: samples among groups of ranks, each of which shares a state
`shared_device`  the device for a name and a communicator
===============  =====================================================================================================
"""

from __future__ import annotations

from .circuit import ShardedCircuit
from .device import DistributedDevice
from .shared_device import shared_device

__all__ = ["DistributedDevice", "ShardedCircuit", "shared_device"]
