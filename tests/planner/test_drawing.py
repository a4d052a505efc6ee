"""What is shown of plans, as text, in notebooks and as a picture, beside the plans' own numbers."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from support import staged
from support.noisy_programs import NoisySampler
from support.programs import layered

from qiskit_fusedqml.errors import InvalidInputError, MissingExtraError
from qiskit_fusedqml.ir.program import Matrix, Program, Rotation
from qiskit_fusedqml.planner import fuse
from qiskit_fusedqml.planner.cost import CostModel
from qiskit_fusedqml.planner.drawing import COLORS, MAX_COLUMNS
from qiskit_fusedqml.planner.pauli_vector import fuse_channels
from qiskit_fusedqml.planner.pauli_vector.tape import Affine
from qiskit_fusedqml.planner.plan import Plan
from qiskit_fusedqml.planner.tape import RY, Diag


def plan_of_layers(num_layers: int = 3, tile_qubits: int = 5) -> Plan:
    return fuse(layered(9, num_layers), CostModel(tile_qubits=tile_qubits), wanted_slots=frozenset([40]))


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for axes in figure.axes for text in axes.texts)


def places(figure: Figure, kind: str, size: float) -> list[tuple[float, float]]:
    """Columns and lines of the marks of a kind that are as large as this."""
    found = []
    for collection in figure.axes[0].collections:
        if (
            isinstance(collection, PathCollection)
            and collection.get_sizes().tolist() == [size]
            and to_hex(collection.get_facecolor()[0]) == COLORS[kind]
        ):
            found += [(float(x), float(y)) for x, y in collection.get_offsets()]
    return found


def test_squares_and_dots_are_what_operations_flip_and_depend_on() -> None:
    plan = fuse(layered(6, 2), CostModel(), wanted_slots=frozenset(range(36)))
    operations = [operation for block in plan.tape.blocks for operation in block.operations]
    figure = plan.draw()
    flips = [operation.x for operation in operations if isinstance(operation, RY)]
    assert sorted(line for _, line in places(figure, "RY", 70)) == sorted(
        line for x in flips for line in range(6) if x >> line & 1
    )
    sides = [operation.w & ~operation.x for operation in operations if isinstance(operation, RY)]
    assert len(places(figure, "RY", 18)) == sum((side & 63).bit_count() for side in sides)
    diagonals = [{f for factor in o.factors for f in factor.basis} for o in operations if isinstance(o, Diag)]
    lines = [sum(any(f >> line & 1 for f in each) for line in range(6)) for each in diagonals]
    assert len(places(figure, "Diag", 18)) == sum(lines)
    marks = places(figure, "RY", 70) + places(figure, "RY", 18) + places(figure, "Diag", 18)
    assert len(set(marks)) == len(marks)  # no two in one place


def test_the_picture_has_the_numbers_of_the_summary() -> None:
    plan = plan_of_layers()
    summary, figure = plan.summary(), plan.draw()
    shown = texts(figure)
    for unit in ("fma", "bytes"):
        for which in ("", "gate_by_gate_"):
            total = summary[f"{which}forward_{unit}"] + summary[f"{which}backward_{unit}"]
            assert f"\n{total:,.0f}" in shown
    moved = np.array(re.findall(r"^\d+\n([\d.]+) B\n([\d.]+) B$", shown, re.MULTILINE), float)
    assert len(moved) == len(plan.tape.blocks)
    expected = [summary["forward_bytes"], summary["backward_bytes"]]
    np.testing.assert_allclose(moved.sum(axis=0), expected, rtol=1e-2)


def blocks_of(figure: Figure) -> list[int]:
    """Numbers of the blocks that a picture has."""
    return [int(number) for number in re.findall(r"^(\d+)\n.* B\n", texts(figure), re.MULTILINE)]


def test_a_long_plan_is_drawn_in_parts() -> None:
    plan = plan_of_layers(20)
    whole = len(plan.tape.blocks)
    drawn = blocks_of(plan.draw())
    assert drawn == list(range(len(drawn)))
    assert 1 < len(drawn) < whole
    assert f"{whole - len(drawn)} more blocks" in texts(plan.draw())
    assert blocks_of(plan.draw(len(drawn)))[0] == len(drawn)
    assert "more block" not in texts(plan.draw(whole - 1))
    for wrong in (whole, -1):
        with pytest.raises(InvalidInputError, match="first"):
            plan.draw(wrong)


def test_a_long_block_is_cut_off() -> None:
    plan = fuse(layered(3, 200), CostModel(), wanted_slots=frozenset(range(9 * 200)))
    figure = plan.draw()
    marked = {x for kind in COLORS for size in (70, 18) for x, _ in places(figure, kind, size)}
    assert len(marked) == MAX_COLUMNS
    assert figure.get_size_inches()[0] <= 10
    (hidden,) = re.findall(r"(\d+) more operations", texts(figure))
    shown = len(plan.tape.blocks[0].operations) - int(hidden)
    assert MAX_COLUMNS <= shown <= 3 * MAX_COLUMNS


def test_plans_without_gates_and_with_stages_are_drawn() -> None:
    assert "more" not in texts(fuse(Program(2, 0, ()), CostModel()).draw())
    plan = staged.planned(staged.layered(12, 2, "cz"), 2)
    dashed = [line for line in plan.draw().axes[0].lines if line.get_linestyle() == "--"]
    drawn = len(blocks_of(plan.draw()))
    assert len(dashed) == sum(0 < stage.first < drawn for stage in plan.tape.stages) > 0


def test_plans_of_mixed_states_are_drawn_on_qubits() -> None:
    sampler = NoisySampler(np.random.default_rng(3), 3)
    plan = fuse_channels(sampler.program(20), tile_bits=6)
    figure = plan.draw()
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["qubit 0", "qubit 1", "qubit 2"]
    operations = [operation for block in plan.tape.blocks for operation in block.operations]
    touched = [o.qubit for o in operations if isinstance(o, Affine)]
    assert sorted(places(figure, "Affine", 70)) == sorted(set(places(figure, "Affine", 70)))
    assert len(places(figure, "Affine", 70)) == sum(
        len({b // 2 for b in range(6) if (q.x | q.z) >> b & 1}) for q in touched
    )
    assert re.findall(r"<td>[\d,]+</td>", plan._repr_html_())


def numbers_of(plan: Plan) -> list[int]:
    summary = plan.summary()
    ways = [f"{both}{way}" for both in ("", "gate_by_gate_") for way in ("forward", "backward")]
    return [round(summary[f"{way}_{unit}"]) for unit in ("fma", "bytes") for way in ways]


def test_each_printed_number_stands_below_its_name() -> None:
    plan = plan_of_layers()
    lines = str(plan).splitlines()
    ends = [match.end() for match in re.finditer(r"\b(forward|backward|saved)\b", lines[2])]
    found = []
    for line in lines[3:5]:
        numbers = [(match.end(), match[0]) for match in re.finditer(r"[\d.]+x?$|\d+(?= )", line)]
        assert [end for end, _ in numbers] == ends
        found += [int(number) for _, number in numbers[:4]]
    assert found == numbers_of(plan)


def test_a_notebook_shows_the_same_numbers() -> None:
    plan = plan_of_layers(20)
    cells = re.findall(r"<td>([\d,]+)</td>", plan._repr_html_())
    assert [int(cell.replace(",", "")) for cell in cells] == numbers_of(plan)
    assert plan._repr_html_().count("<li>") == 21
    assert "more blocks" in plan._repr_html_()


def test_heads_of_a_notebooks_table_stand_above_all_columns() -> None:
    groups, heads, *rows = re.findall(r"<tr>(.*?)</tr>", plan_of_layers()._repr_html_())
    widths = {sum(map(int, re.findall(r"colspan='(\d)'", groups))), heads.count("<th>")}
    assert widths == {row.count("<td>") for row in rows} == {6}


def test_one_thing_is_named_in_the_singular() -> None:
    plan = fuse(Program(1, 1, (Rotation(1, 1, slot=0),)), CostModel(), wanted_slots=frozenset([0]))
    assert re.findall(r"\b1 \w+s\b", str(plan)) == []
    assert "1 qubit" in str(plan)


def test_names_of_a_picture_lie_on_no_bar() -> None:
    swap = np.eye(4, dtype=complex)[[0, 2, 1, 3]]
    unitary = Program(2, 0, (Matrix((0, 1), swap),))  # nothing of which is saved
    for plan in (plan_of_layers(), fuse(unitary, CostModel())):
        figure = plan.draw()
        figure.draw_without_rendering()
        for axes in figure.axes[1:]:
            legend = axes.get_legend().get_window_extent()
            assert not any(bar.get_window_extent().overlaps(legend) for bar in axes.patches)
            assert not axes.title.get_window_extent().overlaps(legend)


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"install qiskit-fusedqml\[demo\]"):
        plan_of_layers().draw()
