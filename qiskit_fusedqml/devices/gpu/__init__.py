"""The GPU device: lower -> pack -> launch, for the kernels in ``cuda_src``.

* lower: `compiled` cuts a tape into sweeps, `windows` chooses which amplitudes threads hold in registers, `operations`
  has a class for each kind of operation, which writes it into `records`, the integers that kernels read.
* pack: `layout` says where coefficients lie and packs those of the host; `coefficients` makes them on the device, from
  the index arrays of `tables`; `observables` are tables of terms.
* launch: `sequences` runs the sweeps of a tape, one by one or as `graphs`, `launches` everything else; `sources` joins
  the kernels' text and knows their names and parameters, `constants` are the numbers that both sides know.

`device.GPUDevice` is a `qiskit_fusedqml.devices.Device` on a `runtime.Runtime`, CuPy, with the `limits` of its GPU. The
tests have another runtime, which runs the same kernels on the CPU.
"""
