"""How often the intervals of a review hold the truth, on simulated archives whose truth is known.

``python benchmarks/review.py`` makes archives of 50,000 units at 5 and 30 sites that differ by 1 logit in prevalence
and by half a logit in the scores of false alarms, and reviews each once with 200 clips, 500 times of each kind. A
"weak" model leaves a fifth of the positive units below the lowest edge. ``ci95_archive`` is about the archive that was
drawn from, ``ci95_new_places`` about all sites of that kind. Beside them: the usual interval of a proportion, from the
answered clips as if they were drawn at random (Wilson). A coverage of 500 is known to about 2 points.
"""

import argparse
import math
from collections import defaultdict
from itertools import product

import numpy as np
from numpy.typing import NDArray

from audiocnn.draw.charts import wilson_interval
from audiocnn.review import estimates, sampling
from audiocnn.review.estimates import Estimate, Sample

N_UNITS, SITES, PREVALENCES = 50_000, (5, 30), (1e-4, 1e-3, 1e-2, 1e-1)
MODELS = {"clear": 2.5, "weak": 0.0}  # mean logit of the score of positive units
EDGES = np.array(sampling.EDGES[0])
ABOVE = {0.5: EDGES.tolist().index(0.5) + 1, 0.9: EDGES.tolist().index(0.9) + 1}  # first stratum from a score on
_POPULATION_SITES = 2_000  # of which the truth for new places is computed

Array = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reviews", type=int, default=500, help="reviews of each kind  [default: 500]")
    parser.add_argument("--clips", type=int, default=200, help="clips of a review  [default: 200]")
    parser.add_argument("--seed", type=int, default=0, help="of everything  [default: 0]")
    options = parser.parse_args()
    figures = ("units", "precision 0.5", "precision 0.9", "recall 0.5", "plain units", "plain precision 0.5", "new 0.5")
    print(f"| model | sites | prevalence | right expected | {' | '.join(figures)} |")
    print(f"|---|{'---:|' * (3 + len(figures))}")
    lowest, plain = 1.0, 1.0
    for (name, level), n_sites, prevalence in product(MODELS.items(), SITES, PREVALENCES):
        expected, coverage = measured(level, n_sites, prevalence, options)
        cells = (f"{coverage[figure]:.1%}" if figure in coverage else "-" for figure in figures)
        print(f"| {name} | {n_sites} | {prevalence:g} | {expected:.0f} | {' | '.join(cells)} |", flush=True)
        lowest = min(lowest, *(coverage[figure] for figure in figures[:4] if figure in coverage))
        plain = min(plain, *(coverage[figure] for figure in figures[4:6] if figure in coverage))
    print(f"lowest coverage: ci95_archive {lowest:.1%}, plain proportions {plain:.1%}")


def measured(
    level: float, n_sites: int, prevalence: float, options: argparse.Namespace
) -> tuple[float, dict[str, float]]:
    """Return the number of right answers to expect, and the coverage of each figure."""
    rng = np.random.default_rng(options.seed)
    _, y, scores = archive(rng, _POPULATION_SITES, prevalence, level, 20 * N_UNITS)
    everywhere = float(y[scores >= 0.5].mean())
    held: defaultdict[str, list[bool]] = defaultdict(list)
    expected = []
    for _ in range(options.reviews):
        sample, totals = review(rng, n_sites, prevalence, level, options.clips)
        expected.append(float((sample.n * totals / np.maximum(sample.n_units, 1)).sum()))
        for name, inside in checked(sample, totals, everywhere).items():
            held[name].append(inside)
    return float(np.mean(expected)), {name: float(np.mean(values)) for name, values in held.items()}


def archive(
    rng: np.random.Generator, n_sites: int, prevalence: float, level: float, n_units: int = N_UNITS
) -> tuple[NDArray[np.int64], Array, Array]:
    """Return the site, y and score of each unit (n_units,), sorted by site."""
    site = np.sort(rng.integers(n_sites, size=n_units))
    more, louder = rng.normal(size=(2, n_sites))
    logit = math.log(prevalence / (1 - prevalence)) + more[site] - 0.5 * (1 - prevalence)
    y = rng.random(n_units) < 1 / (1 + np.exp(-logit))
    of_positive, of_others = rng.normal(level, 1.8, n_units), rng.normal(-4, 1.5, n_units) + 0.5 * louder[site]
    return site, y.astype(float), 1 / (1 + np.exp(-np.where(y, of_positive, of_others)))


def review(
    rng: np.random.Generator, n_sites: int, prevalence: float, level: float, n_clips: int
) -> tuple[Sample, Array]:
    """Return the answers about one archive, and its true number of positive units by stratum."""
    site, y, scores = archive(rng, n_sites, prevalence, level)
    stratum = np.searchsorted(EDGES, scores, side="right")
    n_units = np.bincount(stratum, minlength=len(EDGES) + 1)
    sizes = sampling.sample_sizes(n_units.tolist(), n_clips)
    drawn = np.concatenate(
        [
            np.flatnonzero(stratum == h)[sampling.systematic(int(n), int(size), rng)]
            for h, (n, size) in enumerate(zip(n_units, sizes, strict=True))
        ]
    )
    totals = np.bincount(stratum, y, len(n_units))
    return Sample(stratum[drawn], site[drawn], y[drawn], n_units), totals


def checked(sample: Sample, totals: Array, everywhere: float) -> dict[str, bool]:
    """Return for each figure whether its interval holds the truth; those without an estimate are left out."""
    everything = np.ones(len(totals), bool)
    number = np.arange(len(totals))
    found: dict[str, bool] = {}
    n, right = int(sample.n.sum()), float(sample.right.sum())
    low, high = wilson_interval(right / n, n)
    found["units"] = _holds(estimates.positive_units(sample, everything).ci95_archive, totals.sum())
    found["plain units"] = _holds((low * sample.n_units.sum(), high * sample.n_units.sum()), totals.sum())
    for edge, first in ABOVE.items():
        strata = number >= first
        if n_units := int(sample.n_units[strata].sum()):
            precision = estimates.precision(sample, strata)
            found[f"precision {edge}"] = _holds(precision.ci95_archive, totals[strata].sum() / n_units)
            if edge == 0.5:
                answered = int(sample.n[strata].sum())
                plain = wilson_interval(float(sample.right[strata].sum()) / answered, answered)
                found["plain precision 0.5"] = _holds(plain, totals[strata].sum() / n_units)
                if precision.ci95_new_places is not None:
                    found["new 0.5"] = _holds(precision.ci95_new_places, everywhere)
    recall: Estimate = estimates.recall(sample, number >= ABOVE[0.5], everything)
    if recall.ci95_archive is not None and totals.sum():
        found["recall 0.5"] = _holds(recall.ci95_archive, totals[number >= ABOVE[0.5]].sum() / totals.sum())
    return found


def _holds(ends: tuple[float, float] | None, truth: float) -> bool:
    return ends is not None and ends[0] - 1e-9 <= truth <= ends[1] + 1e-9


if __name__ == "__main__":
    main()
