"""How often 95 % intervals hold the truth: those of audiocnn beside plain percentiles of a bootstrap by groups.

``python benchmarks/intervals.py`` makes 500 data sets of each kind, whose true accuracy is known and whose errors
cluster by groups of uneven sizes, and counts whose interval holds it. Where all is right, or all wrong, there is no
interval: the share of such data sets is given and they are left out. A coverage of 500 is known to about 2 points.
"""

import argparse
import sys
from itertools import product
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import clusters

from audiocnn.evaluation import intervals

GROUPS, ACCURACIES, CORRELATIONS = (15, 40, 100), (0.6, 0.85, 0.95), (0.0, 0.3, 0.7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=500, help="data sets of each kind  [default: 500]")
    parser.add_argument("--bootstrap", type=int, default=1_000, help="resamples  [default: 1000]")
    parser.add_argument("--seed", type=int, default=0, help="of everything  [default: 0]")
    options = parser.parse_args()
    print("| groups | accuracy | correlation | all right | percentiles | width | audiocnn | width |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    found = []
    for n_groups, accuracy, correlation in product(GROUPS, ACCURACIES, CORRELATIONS):
        row = measured(n_groups, accuracy, correlation, options)
        found.append(row)
        cells = f"{row[0]:.1%} | {row[1]:.1%} | {row[2]:.2f} | {row[3]:.1%} | {row[4]:.2f}"
        print(f"| {n_groups} | {accuracy} | {correlation} | {cells} |", flush=True)
    for name, column in (("percentiles", 1), ("audiocnn", 3)):
        values = [row[column] for row in found]
        inside = sum(0.93 <= value <= 0.97 for value in values)
        print(f"{name}: {min(values):.1%} to {max(values):.1%}, {inside} of {len(values)} between 93 and 97 %")


def measured(
    n_groups: int, accuracy: float, correlation: float, options: argparse.Namespace
) -> tuple[float, float, float, float, float]:
    """Return the share of data sets without a mistake, then coverage and mean width of both methods.

    Percentiles have no interval without a mistake, so the other data sets check them.
    """
    rng = np.random.default_rng(options.seed)
    right, n = clusters.draw(rng, n_groups=n_groups, accuracy=accuracy, correlation=correlation, n_sets=options.sets)
    values = clusters.resampled(right, n, bootstrap=options.bootstrap, seed=options.seed)
    estimates = right.sum(axis=1) / n.sum(axis=1)
    plain = np.percentile(values, [2.5, 97.5], axis=1).T
    ours = np.array(
        [
            intervals.share_interval(float(value), float(error), sizes)
            for value, error, sizes in zip(estimates, values.std(axis=1), n, strict=True)
        ],
        float,
    )
    defined = (estimates > 0) & (estimates < 1)
    figures = [float(1 - defined.mean())]
    for ends in (plain[defined], ours):
        figures.append(float(((ends[:, 0] <= accuracy) & (accuracy <= ends[:, 1])).mean()))
        figures.append(float((ends[:, 1] - ends[:, 0]).mean()))
    none, plain_coverage, plain_width, coverage, width = figures
    return none, plain_coverage, plain_width, coverage, width


if __name__ == "__main__":
    main()
