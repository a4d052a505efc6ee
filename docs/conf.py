"""Sphinx: pages of `docs/`, the notebooks of `tutorials/` and the log of changes, from the repository's root."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

from qiskit_fusedqml import __version__

FOREIGN = "|".join(
    """
    ArrayLike NDArray QuantumCircuit Parameter ParameterExpression ParameterVector QuantumTape ExecutionConfig Path
    BasePassManager Result BaseOperator Options Figure Axes BaseSamplerV2 BaseEstimatorV2 BackendV2 Backend
    PrimitiveResult JobStatus DeviceError DerivativeType DAGCircuit timedelta csr_array CircuitInstruction Executor
    CompilePipeline Device.compute_jvp Device.compute_vjp AbstractContextManager QiskitMachineLearningError
    StateFidelityResult SamplerGradientResult EstimatorGradientResult QGTResult PubResult SamplerPubResult
    SamplerPubLike EstimatorPubLike BaseStateFidelity BaseSamplerGradient BaseEstimatorGradient tensor-like
    """.split()
)
PRIVATE = "|".join(
    """
    Array AngleTables BindingTables Bytes CSRRows Caches Circuits Config Derivative Expression Frame Functional
    Geometry Group Indices Instruction Item Masks MixedStateDevice Number Operation Operations Pairs Parameters
    PauliOperation PhysicalTerm Qubits ResultT RotationSequences RunnerOptions Runtime Shapes Space Step Take Vector
    CoefficientTables Node Part PauliState Piece Segment State Values _Room
    """.split()
)
"""Names of the inside that signatures have and these pages do not describe."""

project = "qiskit-fusedqml"
author = "The qiskit_fusedqml developers"
project_copyright = "The qiskit_fusedqml developers"
release = __version__

extensions = [
    "finish",
    "mathml",
    "myst_nb",
    "names",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "tables",
    "terms",
]
root_doc = "docs/index"
include_patterns = ["docs/**", "tutorials/*.ipynb", "CHANGELOG.md", "CONTRIBUTING.md"]
exclude_patterns = ["docs/_*/**"]
templates_path = ["_templates"]

html_theme = "furo"
html_title = f"qiskit-fusedqml {release}"
html_additional_pages = {
    "index": "root.html"
}  # the folder's own page leads to docs/index.html
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_copy_source = False
html_search_scorer = str(Path(__file__).parent / "_extensions" / "scorer.js")
toc_object_entries_show_parents = "hide"

# a name in single backticks is a link where these pages hold it (see `names.linked`), and code elsewhere
default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [
    # other projects' modules, and names of theirs and of the standard library in signatures
    (
        "py:.*",
        r"(abc|autograd|collections|concurrent|cupy|jax|mpi4py|np|numpy|pathlib|pennylane|qiskit(?!_fusedqml)|torch)[\w.]*\..*",
    ),
    ("py:.*", FOREIGN),
    ("py:.*", rf"(qiskit_fusedqml[\w.]*\.)?({PRIVATE})"),
]
autodoc_default_options = {"show-inheritance": True}
autodoc_inherit_docstrings = False  # frameworks describe their own methods
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes of dataclasses are documented by their class
napoleon_attr_annotations = False
napoleon_use_param = False  # parameters that are described together stay together
python_maximum_signature_line_length = 88

nb_execution_mode = (
    "off"  # what is shown is what was committed; `make test` executes the notebooks
)
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
myst_update_mathjax = False
