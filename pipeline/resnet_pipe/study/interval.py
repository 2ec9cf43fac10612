"""Intervals: what a figure will probably be, from few measurements of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

FLOOR = 1.05
"""No interval of a measured figure is narrower than this factor either way, however little the measurements
differ: a few may agree by chance. It is a little more than what tuning takes for noise, `search.GAIN`."""
_QUANTILES = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833)
"""Of Student's t for 1 to 9 degrees of freedom: 5 % lie above, and so 90 % between both."""
_Z = 1.645
"""The same of the normal distribution."""
_ONE = 2.0
"""Of a single measurement nobody knows how much others would differ: this factor either way is a guess."""


@dataclass(frozen=True)
class Interval:
    """A figure that is between `low` and `high` in nine cases of ten. None of them is negative."""

    low: float
    expected: float
    high: float

    @classmethod
    def exactly(cls, value: float) -> Interval:
        """Return that of a figure that is known."""
        return cls(value, value, value)

    def times(self, other: Interval | float) -> Interval:
        """Return the product with a figure that errs independently: relative errors add up as squares do."""
        if not isinstance(other, Interval):
            return Interval(self.low * other, self.expected * other, self.high * other)
        expected = self.expected * other.expected
        if not expected:
            return Interval(0.0, 0.0, self.high * other.high)
        below = math.hypot(_log(self.expected, self.low), _log(other.expected, other.low))
        above = math.hypot(_log(self.high, self.expected), _log(other.high, other.expected))
        return Interval(expected * math.exp(-below), expected, expected * math.exp(above))

    def plus(self, other: Interval) -> Interval:
        """Return the sum with a figure that errs independently: errors add up as squares do."""
        expected = self.expected + other.expected
        below = math.hypot(self.expected - self.low, other.expected - other.low)
        above = math.hypot(self.high - self.expected, other.high - other.expected)
        return Interval(max(0.0, expected - below), expected, expected + above)

    def to_json(self) -> dict[str, float]:
        """Return the three figures, with four digits or as whole numbers."""
        return {name: _short(value) for name, value in vars(self).items()}


def measured(values: Sequence[float]) -> Interval:
    """Return what another measurement will probably give: the prediction interval of n measurements.

    With the mean m and the standard deviation s of their logarithms, and Student's t for n - 1 degrees of
    freedom, it is exp(m +- t s sqrt(1 + 1/n)): Hahn and Meeker, Statistical Intervals (1991), chapter 4.
    All values are above 0. It is never narrower than `FLOOR` either way.
    """
    logs = [math.log(value) for value in values]
    middle, count = fmean(logs), len(logs)
    half = math.log(_ONE) if count < 2 else quantile(count - 1) * stdev(logs) * math.sqrt(1 + 1 / count)
    half = max(half, math.log(FLOOR))
    return Interval(math.exp(middle - half), math.exp(middle), math.exp(middle + half))


def total(values: Sequence[float], sizes: Sequence[float], count: int, size: float) -> Interval:
    """Return the sum of a figure over `count` members of a population, known of some that chance has chosen.

    The sizes are of these, and `size` is that of the whole population; 0 where sizes are not known. Of the
    ratio of the figure to the size and the mean of the figure, that is scaled up which leaves less
    unexplained; the variances of both, with the correction for a finite population, are those of Cochran,
    Sampling Techniques (1977), chapters 2 and 6.
    """
    known, mean = len(values), fmean(values)
    by_mean = (mean * count, [value - mean for value in values])
    scaled, rest = by_mean
    if size > 0 and any(sizes) and any(values):
        ratio = sum(values) / sum(sizes)
        by_ratio = (ratio * size, [value - ratio * each for value, each in zip(values, sizes, strict=True)])
        scaled, rest = min(by_ratio, by_mean, key=lambda way: sum(error * error for error in way[1]))
    if known == count:
        return Interval.exactly(sum(values))
    if known < 2:
        return Interval(scaled / _ONE, scaled, scaled * _ONE)
    variance = sum(error * error for error in rest) / (known - 1)
    half = quantile(known - 1) * count * math.sqrt((1 - known / count) / known * variance)
    return Interval(max(min(sum(values), scaled), scaled - half), scaled, scaled + half)


def share(found: int, tried: int) -> Interval:
    """Return a share of which `found` of those tried were: of a population much larger than these.

    That is the interval of Agresti and Coull (The American Statistician 52, 1998) around the share itself.
    """
    squared = _Z * _Z
    middle = (found + squared / 2) / (tried + squared)
    half = _Z * math.sqrt(middle * (1 - middle) / (tried + squared))
    exact = found / tried
    return Interval(min(exact, max(0.0, middle - half)), exact, max(exact, min(1.0, middle + half)))


def quantile(freedom: int) -> float:
    """Return what 5 % of Student's distribution lie above, with at least one degree of freedom.

    Beyond the table by the expansion of Abramowitz and Stegun, 26.7.5, which is right to 0.001 there.
    """
    if freedom <= len(_QUANTILES):
        return _QUANTILES[freedom - 1]
    return _Z + (_Z**3 + _Z) / (4 * freedom) + (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / (96 * freedom**2)


def _log(larger: float, smaller: float) -> float:
    return math.log(larger / smaller) if smaller > 0 else math.inf


def _short(value: float) -> float:
    return round(value) if value >= 1000 else float(f"{value:.4g}")
