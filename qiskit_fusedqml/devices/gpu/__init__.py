"""The GPU device: tapes restated for the kernels in ``cuda_src``, on any runtime that can allocate, copy and launch.

`sources` joins the kernels' text; `windows` and `records` restate a tape; `compiled` cuts it into launches; `layout`
packs coefficients, `tables` and `recipes` make them on the device from values that are there; `sequences` runs the
launches, one by one or as graphs; `device.GPUDevice` is a `qiskit_fusedqml.devices.Device` on a `runtime.Runtime`. CuPy
is one runtime (`qiskit_fusedqml.devices.cuda`); the tests have another that runs the same kernels on the CPU.
"""
