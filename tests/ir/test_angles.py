"""Formulas and angle maps against hand-written NumPy, dense Jacobians and finite differences."""

from __future__ import annotations

import ast

import numpy as np
import pytest
from numpy.typing import NDArray

from qiskit_fusedqml.errors import InvalidInputError
from qiskit_fusedqml.ir.angles import AngleMap, FormulaGroup
from qiskit_fusedqml.ir.expressions import FUNCTIONS, parse

Floats = NDArray[np.float64]
RNG = np.random.default_rng(11)


def jacobian(angle_map: AngleMap, values: Floats, step: float = 1e-6) -> Floats:
    """``d angles / d parameters`` (A, P) by central differences."""
    columns = [
        (angle_map.evaluate(values + step * unit) - angle_map.evaluate(values - step * unit)) / (2 * step)
        for unit in np.eye(len(values))
    ]
    return np.stack(columns, axis=1) if columns else np.zeros((angle_map.num_angles, 0))


def mixed_map() -> AngleMap:
    """Angles: 1 + 2 p0; p2; p0 - 3 p1; p0 p1 + p2; 2 p1 p2; sin(p2)."""
    product = FormulaGroup(parse("a*b", ["a", "b"]), np.array([[0, 2], [1, 1]]), ("p0*p1", "p2*p1"))
    sine = FormulaGroup(parse("sin(a)", ["a"]), np.array([[2]]), ("sin(p2)",))
    return AngleMap(
        3,
        np.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
        np.array([0, 1, 2, 2, 3, 3, 4, 5]),
        np.array([0, 2, 0, 1, 3, 2, 4, 5]),
        np.array([2.0, 1.0, 1.0, -3.0, 1.0, 1.0, 2.0, 1.0]),
        (product, sine),
        ("p0", "p1", "p2"),
    )


def mixed_angles(p: Floats) -> Floats:
    p0, p1, p2 = np.moveaxis(p, -1, 0)
    return np.stack([1 + 2 * p0, p2, p0 - 3 * p1, p0 * p1 + p2, 2 * p1 * p2, np.sin(p2)], axis=-1)


def plain_map() -> AngleMap:
    """Each angle one parameter: p1, p0, p2."""
    return AngleMap(3, np.zeros(3), np.arange(3), np.array([1, 0, 2]), np.ones(3))


@pytest.mark.parametrize("angle_map", [mixed_map(), plain_map()])
def test_tangents(angle_map: AngleMap) -> None:
    values, direction = RNG.normal(size=(2, 3))
    expected = jacobian(angle_map, values) @ direction
    np.testing.assert_allclose(angle_map.tangent(values, direction), expected, rtol=0, atol=1e-8)


def test_parameters_more() -> None:
    values = RNG.normal(size=(4, 5))
    wider = mixed_map().wider(2)
    np.testing.assert_array_equal(wider.evaluate(values), mixed_map().evaluate(values[:, :3]))
    np.testing.assert_array_equal(jacobian(wider, values[0])[:, 3:], np.zeros((6, 2)))


@pytest.mark.parametrize(
    ("text", "function"),
    [
        ("2*a + b/3 - 1", lambda a, b: 2 * a + b / 3 - 1),
        ("-(a - 3.5)**2*b", lambda a, b: -((a - 3.5) ** 2) * b),
        ("a**b", lambda a, b: a**b),
        ("a**(-2) + 2**b", lambda a, b: a**-2.0 + 2**b),
        ("sin(a)*cos(b) + tan(a*b)", lambda a, b: np.sin(a) * np.cos(b) + np.tan(a * b)),
        ("asin(a) - acos(b) + atan(a/b)", lambda a, b: np.arcsin(a) - np.arccos(b) + np.arctan(a / b)),
        ("exp(a) + log(b) + sqrt(a)", lambda a, b: np.exp(a) + np.log(b) + np.sqrt(a)),
        ("abs(a - b) + sign(a - b)*b + conj(a)", lambda a, b: np.abs(a - b) + np.sign(a - b) * b + a),
        ("b", lambda a, b: b + 0 * a),
        ("2.5", lambda a, b: 2.5 + 0 * a * b),
        ("a*pi + E*b", lambda a, b: a * np.pi + np.e * b),
        ("+a", lambda a, b: a + 0 * b),
    ],
)
def test_formula(text: str, function: object) -> None:
    formula = parse(text, ["a", "b"])
    a, b = RNG.uniform(0.1, 0.9, (2, 5, 4))
    found = formula.evaluate([a, b])
    assert found.shape == a.shape
    np.testing.assert_allclose(found, function(a, b), rtol=1e-14)
    step = 1e-6
    d_a, d_b = formula.partials([a, b])
    np.testing.assert_allclose(d_a, (function(a + step, b) - function(a - step, b)) / (2 * step), atol=1e-7)
    np.testing.assert_allclose(d_b, (function(a, b + step) - function(a, b - step)) / (2 * step), atol=1e-7)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivative_of_every_function(name: str) -> None:
    formula = parse(f"{name}(a)", ["a"])
    a, step = np.linspace(0.1, 0.9, 9), 1e-6
    numeric = (formula.evaluate([a + step]) - formula.evaluate([a - step])) / (2 * step)
    np.testing.assert_allclose(formula.partials([a])[0], numeric, atol=1e-8)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a", (0, (1, 0))),
        ("3 - 2*a/4 + b*(-1.5)", (3, (-0.5, -1.5))),
        ("2*(a - (b + 1)) - conj(a)", (-2, (1, -2))),
        ("sin(2)*a + 2**3", (8, (np.sin(2), 0))),
        ("a - a", (0, (0, 0))),
        ("-0.5", (-0.5, (0, 0))),
        ("a*b", None),
        ("a/b", None),
        ("a/(b - b + 2)", None),  # by its form
        ("a**2", None),
        ("sin(a)", None),
        ("(a + 1)*(b + 1)", None),
    ],
)
def test_affine_formulas(text: str, parts: tuple[float, tuple[float, float]] | None) -> None:
    formula = parse(text, ["a", "b"])
    assert formula.is_affine == (parts is not None)
    if parts is not None:
        assert formula.affine_parts == parts


def test_derivatives_at_zero() -> None:
    zero = np.zeros(1)
    assert parse("abs(a)", ["a"]).partials([zero])[0] == 0
    assert parse("a**2", ["a"]).partials([zero])[0] == 0
    assert [float(d[0]) for d in parse("a**b", ["a", "b"]).partials([zero, np.ones(1)])] == [1, 0]


@pytest.mark.parametrize(
    "text",
    ["__import__('os')", "a.real", "a if b else 1", "a and b", "[a]", "lambda: a", "unknown(a)", "sin(a, b)", "c",
     "sin(a", "a*(1i)", "2j*a", "True", "a // b", "a < b", "'a'", "sin(x=a)"],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"this expression .*allowed"):
        parse(text, ["a", "b"], label="this expression")


@pytest.mark.parametrize("count", [3, 400, 5000])
def test_long_sums(count: int) -> None:
    names = [f"v{k}" for k in range(count)]
    text = "-2*v0 + " + " - ".join(f"1e-03*{name}*(v0 - 1)" for name in names[1:]) + " + sin(v1 - v2)"
    formula = parse(text, names)
    values = np.random.default_rng(1).normal(size=count)
    terms = 1e-3 * values[1:] * (values[0] - 1)
    expected = -2 * values[0] + terms[0] - terms[1:].sum() + np.sin(values[1] - values[2])
    np.testing.assert_allclose(formula.evaluate(values), expected, rtol=1e-12)
    assert len(formula.label) <= 80


def test_deep_texts_are_refused_before_they_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ast, "parse", lambda *_, **__: pytest.fail("Python's parser takes long, or all of its stack"))
        for depth in (195, 500, 100_000):
            with pytest.raises(InvalidInputError, match=rf"nested {depth} levels deep") as caught:
                parse("(1 + v0*" * depth + "v0" + ")" * depth, ["v0"])
            assert len(str(caught.value)) < 400
    with pytest.raises(InvalidInputError, match="nested too deeply"):
        parse("sin(" + " + ".join(["v0"] * 200_000) + ")", ["v0"])


@pytest.mark.parametrize("shape", [(3,), (7, 3), (2, 5, 3), (1, 3), (0, 3)])
def test_evaluate(shape: tuple[int, ...]) -> None:
    values = RNG.normal(size=shape)
    np.testing.assert_allclose(mixed_map().evaluate(values), mixed_angles(values), rtol=1e-14)
    np.testing.assert_array_equal(plain_map().evaluate(values), values[..., [1, 0, 2]])


@pytest.mark.parametrize("angle_map", [mixed_map(), plain_map(), mixed_map().select([5, 3, 3, 0])])
@pytest.mark.parametrize(
    ("values_lead", "cotangents_lead"), [((), ()), ((4,), (4,)), ((), (4,)), ((4,), ()), ((4,), (2, 4)), ((4,), (2, 1))]
)
def test_pullback(angle_map: AngleMap, values_lead: tuple[int, ...], cotangents_lead: tuple[int, ...]) -> None:
    values = RNG.normal(size=(*values_lead, 3))
    cotangents = RNG.normal(size=(*cotangents_lead, angle_map.num_angles))
    flat = values.reshape(-1, 3)
    jacobians = np.stack([jacobian(angle_map, row) for row in flat]).reshape(*values_lead, angle_map.num_angles, 3)
    expected = (cotangents[..., None, :] @ jacobians)[..., 0, :]
    np.testing.assert_allclose(angle_map.pullback(values, cotangents), expected, atol=1e-8)


def test_a_wrong_pullback_is_noticed() -> None:
    good = mixed_map()
    values, cotangents = RNG.normal(size=3), RNG.normal(size=6)
    wrong = AngleMap(3, good.constants, good.slots, good.columns, good.coefficients * 1.001, good.groups)
    assert np.abs(wrong.pullback(values, cotangents) - cotangents @ jacobian(good, values)).max() > 1e-5


@pytest.mark.parametrize("slots", [[0], [5, 0], [3, 4], [2, 2, 1], [0, 1, 2, 3, 4, 5], []])
def test_select(slots: list[int]) -> None:
    full, part = mixed_map(), mixed_map().select(slots)
    values = RNG.normal(size=(4, 3))
    np.testing.assert_allclose(part.evaluate(values), full.evaluate(values)[:, slots])
    cotangents, spread = RNG.normal(size=(4, len(slots))), np.zeros((4, 6))
    np.add.at(spread, (slice(None), slots), cotangents)
    np.testing.assert_allclose(part.pullback(values, cotangents), full.pullback(values, spread), atol=1e-14)


def test_select_drops_formulas_that_are_not_needed() -> None:
    assert mixed_map().select([0, 1, 2]).groups == ()
    part = mixed_map().select([4])
    assert [group.labels for group in part.groups] == [("p2*p1",)]


@pytest.mark.parametrize("slots", [[0], [2], [3], [4, 5], [5], []])
def test_compact(slots: list[int]) -> None:
    part = mixed_map().select(slots)
    small, used = part.compact()
    values = RNG.normal(size=(4, 3))
    cotangents = RNG.normal(size=(4, len(slots)))
    np.testing.assert_array_equal(used, np.unique(part.dependence[1]))
    np.testing.assert_allclose(small.evaluate(values[:, used]), part.evaluate(values))
    expected = part.pullback(values, cotangents)
    np.testing.assert_allclose(small.pullback(values[:, used], cotangents), expected[:, used])
    assert not np.delete(expected, used, axis=1).any()


def test_dependence() -> None:
    angle_map = mixed_map()
    dense = np.zeros((6, 3), dtype=bool)
    dense[angle_map.dependence] = True
    np.testing.assert_array_equal(dense, np.abs(jacobian(angle_map, RNG.normal(size=3))) > 1e-6)
    np.testing.assert_array_equal(angle_map.depends_on([2]), dense[:, 2])
    np.testing.assert_array_equal(angle_map.depends_on([0, 1]), dense[:, 0] | dense[:, 1])
    assert not angle_map.depends_on([]).any()


def test_without_parameters() -> None:
    empty = AngleMap(0, np.zeros(0), np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0))
    assert empty.evaluate(np.zeros((5, 0))).shape == (5, 0)
    assert empty.pullback(np.zeros((5, 0)), np.zeros((5, 0))).shape == (5, 0)


def test_parameters_without_angles() -> None:
    empty = AngleMap(2, np.zeros(0), np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0))
    np.testing.assert_array_equal(empty.pullback(np.ones((5, 2)), np.zeros((5, 0))), np.zeros((5, 2)))


def test_wrong_shapes() -> None:
    with pytest.raises(InvalidInputError, match=r"shape \(2,\); \(3,\) or \(B, 3\)"):
        mixed_map().evaluate([1.0, 2.0])
    with pytest.raises(InvalidInputError, match=r"shape \(\)"):
        mixed_map().evaluate(1.0)
    with pytest.raises(InvalidInputError, match=r"shape \(5,\); \(\.\.\., 6\)"):
        mixed_map().pullback(np.zeros(3), np.zeros(5))
    with pytest.raises(InvalidInputError, match=r"0\.\.5, got 6\.\.6"):
        mixed_map().select([6])


def test_values_that_are_not_finite() -> None:
    with pytest.raises(InvalidInputError, match="Parameter p1 is nan in row 2"):
        mixed_map().evaluate([[1, 2, 3], [1, 2, 3], [1, np.nan, 3]])
    with pytest.raises(InvalidInputError, match="Parameter p2 is inf;"):
        mixed_map().evaluate([1, 2, np.inf])
    with pytest.raises(InvalidInputError, match="Parameter number 0 is nan"):
        plain_map().evaluate([np.nan, 2, 3])


def test_expressions_that_are_not_finite() -> None:
    group = FormulaGroup(parse("log(a)", ["a"]), np.array([[0, 1]]), ("log(x)", "log(y)"))
    logs = AngleMap(2, np.zeros(2), np.arange(2), np.array([2, 3]), np.ones(2), (group,))
    with pytest.raises(InvalidInputError, match=r"The expression log\(y\) is nan in row 1"):
        logs.evaluate([[1, 2], [1, -2]])
    group = FormulaGroup(parse("a**0.5", ["a"]), np.array([[0]]), ("x**0.5",))
    roots = AngleMap(1, np.zeros(1), np.arange(1), np.array([1]), np.ones(1), (group,))
    assert roots.evaluate([0.0]) == 0
    with pytest.raises(InvalidInputError, match=r"derivative of the expression x\*\*0\.5 is not finite"):
        roots.pullback([0.0], [1.0])


def test_angles_that_overflow() -> None:
    np.testing.assert_array_equal(plain_map().evaluate([1e308, 1e308, 1e308]), [1e308] * 3)
    with pytest.raises(InvalidInputError, match="Angle 0 overflows"), np.errstate(over="ignore"):
        mixed_map().evaluate([1e308, 0, 0])


def test_ill_formed_maps() -> None:
    with pytest.raises(InvalidInputError, match="without a term is a constant"):
        AngleMap(1, np.zeros(2), np.array([0]), np.array([0]), np.ones(1))
    with pytest.raises(InvalidInputError, match=r"columns must lie in 0\.\.0"):
        AngleMap(1, np.zeros(1), np.array([0]), np.array([1]), np.ones(1))


@pytest.mark.parametrize("text", [
    "sin(a)*b", "a**3/b", "a**b", "exp(a*b) - log(b)", "sqrt(b)*tan(a)", "asin(a/3)*acos(b/9)", "atan(a)-sinh(b)",
    "cosh(a)/tanh(b)", "abs(a*b)*sign(b)", "conj(a)*im(b) - a", "2**a", "-a/(1 + b**2)",
])  # fmt: skip
def test_second_derivatives_by_duals(text: str) -> None:
    formula, step = parse(text, ["a", "b"]), 1e-6
    a, b, da, db = np.array([0.7, -0.4]), np.array([1.3, 2.1]), np.array([0.3, 1.0]), np.array([-0.8, 0.5])
    a = np.abs(a) if text == "a**b" else a
    ours = formula.directional_partials([a, b], [da, db])
    ahead, behind = (formula.partials([a + t * da, b + t * db]) for t in (step, -step))
    for mine, plus, minus in zip(ours, ahead, behind, strict=True):
        np.testing.assert_allclose(np.broadcast_to(mine, (2,)), (plus - minus) / (2 * step), rtol=0, atol=1e-7)
