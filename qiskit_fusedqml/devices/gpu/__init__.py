"""The GPU device: lower -> pack -> launch, for the kernels in ``cuda_src``.

* lower: `compiled` cuts a tape into sweeps, `windows` chooses which amplitudes threads hold in registers, `records`
  writes the operations as the integers that kernels read.
* pack: `layout` says where coefficients lie and packs those of the host; `coefficients` makes them on the device, from
  the index arrays of `tables`; `observables` are tables of terms.
* launch: `launches` knows how each kernel is launched, `sequences` runs the sweeps of a tape, one by one or as graphs;
  `sources` joins the kernels' text.

`device.GPUDevice` is a `qiskit_fusedqml.devices.Device` on a `runtime.Runtime`, which allocates, copies and launches.
CuPy is one runtime (`qiskit_fusedqml.devices.cuda`); the tests have another that runs the same kernels on the CPU.
"""
