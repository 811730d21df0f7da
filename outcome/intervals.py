"""Intervals of 95 % around means of samples, of which those of one image are right or wrong together"""

from __future__ import annotations

import numpy as np
from scipy import stats

Z = float(stats.norm.ppf(0.975))
DUST = 1e-12  # a variance of less, as a share of what it could be, is rounding
Interval = tuple[float, float]


def _deviations(values: np.ndarray, images: np.ndarray) -> np.ndarray:
    """(I,) how much each image moves the mean, to first order; the variance of the mean is that of their sum."""
    _, image = np.unique(images, return_inverse=True)
    return np.bincount(image, values - values.mean()) / len(values)


def _variance(deviations: np.ndarray) -> float:
    count = len(deviations)
    return float(count / max(1, count - 1) * (deviations**2).sum())


def of_share(values: np.ndarray, images: np.ndarray) -> Interval:
    """Of the mean of scores between 0 and 1: Wilson's interval with as many samples as they are worth.

    They are worth fewer than there are where images decide (Franco et al. 2019, Comparative study of confidence
    intervals for proportions in complex sample surveys); where nothing varies, as many as there are images.

    Args:
        values: (N,) at least one.
        images: (N,) image of each.
    """
    mean, variance = float(values.mean()), _variance(_deviations(values, images))
    spread = mean * (1 - mean)
    count = min(len(values), spread / variance) if variance > DUST * spread else len(np.unique(images))
    middle = (mean + Z**2 / (2 * count)) / (1 + Z**2 / count)
    reach = Z / (1 + Z**2 / count) * (spread / count + Z**2 / (4 * count**2)) ** 0.5
    return max(0.0, middle - reach), min(1.0, middle + reach)


def of_sum(parts: list[np.ndarray], images: np.ndarray) -> Interval | None:
    """Of a sum of means, such as a recall sum: the normal one, as the same images stand in all of them.

    None where all images are alike, which says nothing of others.

    Args:
        parts: each (N,), NaN where a sample does not count.
        images: (N,) image of each.
    """
    together = np.zeros(len(np.unique(images)))
    _, image = np.unique(images, return_inverse=True)
    for part in parts:
        counts = ~np.isnan(part)
        together += np.bincount(image[counts], part[counts] - part[counts].mean(), len(together)) / counts.sum()
    total = float(sum(np.nanmean(part) for part in parts))
    reach = Z * _variance(together) ** 0.5
    return (max(0.0, total - reach), min(float(len(parts)), total + reach)) if reach > DUST**0.5 else None
