"""What is computed, as data: gates, programs, angles, observables, dynamic programs. No device and no Qiskit.

===============  =======================================================================================================
`gates`          gate name -> product of controlled Pauli rotations; a gate is a row of a table
`program`        straight-line programs: rotations, diagonals, matrices
`expressions`    expressions of parameters as NumPy computations, with derivatives
`angles`         parameter values -> rotation angles for a whole batch, and the transposed derivative
`encoding`       amplitudes that are parameters
`observables`    sums of controlled Pauli strings
`matrices`       gates given by their entries, under controls
`measurement`    from outcomes of qubits to values of classical bits
`classical`      classical bits, variables and expressions of a dynamic program
`dynamic`        measurements, resets, branches, loops
`channels`       noise: transfer matrices on Pauli vectors, constant or by parameters
`channel_table`  channel name -> transfer matrix and derivatives; powers of a channel
`slots`          which angles instructions take
`qubits`         the qubits that something acts on, and programs on these only
`simplify`       dynamic programs with measurements deferred and segments joined
`program_files`  programs in files
===============  =======================================================================================================
"""
