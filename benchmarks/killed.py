"""``featurize``, ``predict`` or ``train`` killed at many moments: does the next run complete it without a trace?

``python benchmarks/killed.py --moments 100`` kills the command, not its workers, at random times between its start and
its usual end, then runs it again. Every byte that it leaves must be that of an undisturbed run; what was complete when
it was killed must not be computed again; no worker may outlive it by more than a few seconds. Linux only.

``--predict`` does it to ``predict sounds -o out.csv``, ``--train`` to the training of a model of two small networks.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import killing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=100, help="how often to kill it  [default: 100]")
    parser.add_argument("--recordings", type=int, default=40, help="of the project, 7 or more  [default: 40]")
    parser.add_argument("--undisturbed", type=int, default=6, help="runs that tell the usual time  [default: 6]")
    parser.add_argument("--seed", type=int, default=0, help="of the moments  [default: 0]")
    command = parser.add_mutually_exclusive_group()
    command.add_argument("--predict", action="store_true", help="kill predict instead of featurize")
    command.add_argument("--train", action="store_true", help="kill train of two networks instead of featurize")
    options = parser.parse_args()
    project, undisturbed, killed = killing.project, killing.undisturbed, killing.killed
    if options.predict:
        undisturbed, killed = killing.predict_undisturbed, killing.predict_killed
    if options.train:
        project, undisturbed, killed = killing.train_project, killing.train_undisturbed, killing.train_killed
    done = "networks" if options.train else "recordings"
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory(prefix="audiocnn-bench-") as name:
        folder = project(Path(name), n=options.recordings, longest_s=20)
        runs = [undisturbed(folder) for _ in range(options.undisturbed)]
        reference = runs[-1]
        usual_s = statistics.median(run.seconds for run in runs[1:] or runs)  # the first is not warm
        print(f"undisturbed: {usual_s:.2f} s", flush=True)
        outcomes = []
        for number, at_s in enumerate(rng.uniform(0, usual_s, options.moments), 1):
            outcome = killed(folder, reference, after(at_s))
            outcomes.append(outcome)
            what = "; ".join(outcome.problems) or "identical"
            print(
                f"{number:>4}: killed after {at_s:.3f} s with {outcome.n_before} {done} done, "
                f"workers gone {outcome.survived_s:.2f} s later: {what}",
                flush=True,
            )
    n_failed = sum(bool(outcome.problems) for outcome in outcomes)
    print(
        f"{len(outcomes)} moments, {sum(o.under_way for o in outcomes)} of them in the middle of work; "
        f"{len(outcomes) - n_failed} identical, {n_failed} failures; "
        f"no worker lived longer than {max((o.survived_s for o in outcomes), default=0):.2f} s"
    )
    sys.exit(1 if n_failed else 0)


def after(seconds: float) -> Callable[["subprocess.Popen[bytes]"], None]:
    return lambda process: time.sleep(seconds)


if __name__ == "__main__":
    main()
