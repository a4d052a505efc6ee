"""Runs machine code of a GPU on the CPU and counts what it executes.

`program` reads what nvdisasm prints of a kernel, `machine` runs all threads of a block of it in lock step,
`operations` is what each instruction does: those that the sweeps on sm_90 are made of. `launches` has kernels compiled
and run on what the emulation was given. Python, and slow: for one block of a small state.
"""
