"""Are counts drawn from a distribution? For tests of whatever samples."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np


def assert_drawn_from(counts: Mapping[Hashable, int], probabilities: Mapping[Hashable, float], shots: int) -> None:
    """Pearson's chi-square with a limit that fails once in 1e6 (normal approximation), and no impossible outcome."""
    assert sum(counts.values()) == shots
    assert set(counts) <= {key for key, p in probabilities.items() if p > 1e-14}
    expected = {key: shots * p for key, p in probabilities.items() if p > 1e-14}
    chi2 = sum((counts.get(key, 0) - e) ** 2 / e for key, e in expected.items())
    freedom = max(len(expected) - 1, 1)
    assert chi2 < freedom + 6 * np.sqrt(2 * freedom) + 20
