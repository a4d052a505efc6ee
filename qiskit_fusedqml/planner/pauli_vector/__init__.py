"""Planning of programs with noise: from channels and gates to tapes for Pauli vectors."""
