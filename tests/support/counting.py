"""Are counts drawn from a distribution? For tests of whatever samples."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np


def assert_drawn_from(counts: Mapping[Hashable, int], probabilities: Mapping[Hashable, float], shots: int) -> None:
    """Pearson's chi-square with a limit that fails once in 1e6 (normal approximation), and no impossible outcome."""
    assert sum(counts.values()) == shots
    possible = {key: shots * p for key, p in probabilities.items() if p > 1e-14}
    assert set(counts) <= set(possible)
    # the test is good for outcomes that are expected a few times: rare ones are taken together, with the next one up
    found, expected = [0.0], [0.0]
    for key in sorted(possible, key=possible.__getitem__):
        if expected[-1] >= 5:
            found.append(0.0)
            expected.append(0.0)
        found[-1] += counts.get(key, 0)
        expected[-1] += possible[key]
    chi2 = float(np.sum((np.array(found) - expected) ** 2 / np.array(expected)))
    freedom = max(len(expected) - 1, 1)
    assert chi2 < freedom + 6 * np.sqrt(2 * freedom) + 20
