"""Search: the page that a word leads to first. `scorer.js` beside this orders all other answers."""

from __future__ import annotations

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

TERMS = {
    "docs/how-it-works": "fusion, adjoint",
    "docs/howto/classifiers": "VQC, VQR, SamplerQNN, classifier",
    "docs/howto/cluster": "cluster, Dask, MPI, Slurm",
    "docs/howto/dynamic-circuits": "mid-circuit measurement, reset, branch",
    "docs/howto/estimator-qnn": "EstimatorQNN",
    "docs/howto/gpu": "GPU, CUDA",
    "docs/howto/iris-torch": "PyTorch, torch",
    "docs/howto/memory-and-threads": "memory, threads",
    "docs/howto/pennylane": "PennyLane",
    "docs/howto/qaoa": "QAOA",
    "docs/howto/qsvc": "QSVC, kernel",
    "docs/howto/save-and-resume": "checkpoint, resume, save",
    "docs/howto/shots": "shots, counts, Aer, sampler",
    "docs/howto/vqe": "VQE, Hamiltonian",
    "docs/install": "install, extra",
    "docs/limits": "limits",
    "docs/noise-for-aer-users": "noise, density matrix, noise model",
    "docs/quickstart": "gradient, batch, optimiser",
    "docs/several-ranks": "ranks",
    "docs/api/errors": "error, exception",
}
"""Pages and the words that readers look for them by."""


def name(app: Sphinx, doctree: nodes.document) -> None:
    """Put the words into the index that is searched."""
    words = TERMS.get(app.env.docname)
    if words:
        entries = [("single", word, "", "main", None) for word in words.split(", ")]
        doctree.insert(0, addnodes.index(entries=entries))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("doctree-read", name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
