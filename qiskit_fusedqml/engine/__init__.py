"""A program on a device as a differentiable function: values, gradients, states, second derivatives, in batches.

====================  ======================================================================================
`program_function`    `ProgramFunction`: values, gradients, Jacobians, states and probabilities of a program
`options`             where and how a program runs, the same for every interface
`parameters`          inputs and weights of a call: which differ from sample to sample
`parameter_map`       parameters -> a plan's coefficients, and overlaps -> gradients
`passes`              forward and backward passes over a batch, within the memory budget
`sweeps`              the protocol `Sweeps`, and sweeps that follow a plan
`basis_columns`       sweeps over the columns of a unitary instead of many samples
`plans`               the plans of a program, shared by structure
`memory`              the memory budget: pieces of a batch, checkpoints
`recorded_steps`      values and gradients on arrays in a device's memory, recorded: CUDA graphs on a GPU
`forward_cache`       final states that outlive a forward pass
`state_gradients`     derivatives of amplitudes, in reverse mode
`probabilities`       probabilities of groups of outcomes, and their derivatives
`rotations`           derivatives in forward mode, by shifted angles
`second_order`        Hessian products, the geometric tensor
`transforms`          programs made of a program: undone, or with an angle for every rotation
`mixed_sweeps`        sweeps over Pauli vectors, for programs with noise
`density_gradients`   density matrices, and derivatives of what is read off them
`strengths`           batches whose noise differs in strength from sample to sample
`trajectories`        noise by trajectories of pure states: what all have in common
`pauli_trajectories`  those of Pauli noise: the program without noise, with angles of other signs
`pauli_strengths`     the same where strengths are parameters
`pauli_frames`        which errors a trajectory has, and what they do to angles
`distinct_states`     the different states among such trajectories
`prefixes`            sweeps over states that agree up to a place in the program
`kraus_trajectories`  other noise by trajectories whose norms are 1 in the mean
`unravelling`         channels as mixtures of 2x2 matrices
`noisy_sweeps`        sweeps over such trajectories
`certificates`        how well a backward sweep undoes noise
`report`              what a notebook shows of a function
====================  ======================================================================================
"""
