"""``featurize`` on a disk that fills up or fails: is the file named, and does the next run complete the work?

``python benchmarks/full_disk.py`` runs it on file systems that are too small by ever fewer bytes (tmpfs in a mount
namespace of its own), and with every so many-th fsync and rename failing with "Input/output error" (strace). Each time
it must end with an exit code other than 0 and one line that names a path below the run folder, and run to its usual end
once there is room, with every byte that of an undisturbed run. Linux only; what is not permitted here is said.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import killing

PAGE = 4096  # bytes, the least that a file takes of a tmpfs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, default=20, help="file systems that are too small  [default: 20]")
    parser.add_argument("--in-namespace", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    may_mount = options.in_namespace or permitted("unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt")
    if may_mount and not options.in_namespace:
        os.execvp("unshare", ["unshare", "-rm", sys.executable, *sys.argv, "--in-namespace"])
    with tempfile.TemporaryDirectory(prefix="audiocnn-bench-") as name:
        folder = killing.project(Path(name), n=20, longest_s=5)
        reference = killing.undisturbed(folder, jobs=1)
        failed, n = [], 0
        for runs in (
            too_small(folder, reference, options.sizes) if may_mount else skipped("full file systems: no unshare"),
            failing(folder, reference, ("fsync", "rename")) if permitted("strace", "true") else skipped("no strace"),
        ):
            for what, problems in runs:
                n += 1
                failed += [what] if problems else []
                print(f"{what}: {'; '.join(problems) or 'named, then completed, identical'}", flush=True)
    print(f"{n} failures of the disk, {n - len(failed)} named and completed afterwards, {len(failed)} not")
    sys.exit(1 if failed else 0)


def too_small(folder: Path, reference: killing.Reference, n: int) -> Iterator[tuple[str, list[str]]]:
    """Run on file systems from one that is full at once to one that lacks a single page."""
    n_pages = sum(-(-len(content) // PAGE) for content in reference.contents.values()) + 1  # and one for the lock
    runs = folder / "runs"
    for pages in np.unique(np.linspace(0, n_pages - 1, n).astype(int)):
        shutil.rmtree(runs)
        runs.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={max(1, pages) * PAGE}", "tmpfs", runs], check=True)
        try:
            if pages == 0:
                (runs / "filler").write_bytes(bytes(PAGE))
            problems = named(killing.featurize(folder, jobs=1))
            subprocess.run(["mount", "-o", "remount,size=1g", runs], check=True)
            (runs / "filler").unlink(missing_ok=True)
            problems += killing.completed(folder, reference)
        finally:
            subprocess.run(["umount", runs], check=True)
        yield f"full after {pages:>3} of {n_pages} pages", problems


def failing(folder: Path, reference: killing.Reference, calls: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    """Run with a system call failing the first, second, ... time that a process makes it, until none fails any more."""
    for call in calls:
        number = 1
        while True:
            shutil.rmtree(folder / "runs")
            inject = ("-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when={number}")
            done = killing.featurize(folder, jobs=1, before=("strace", "-f", "-qq", "-o", os.devnull, *inject))
            if done.returncode == reference.code and killing.contents(folder / "runs") == reference.contents:
                break  # no process made so many
            yield f"{call} number {number:>2} fails", named(done) + killing.completed(folder, reference)
            number += 3
        if number == 1:
            yield call, ["was never made"]


def named(done: killing.Done) -> list[str]:
    """Say what is wrong with how a run ended whose disk failed."""
    last = (done.stderr.strip().splitlines() or [""])[-1]
    problems = []
    if done.returncode != 2:
        problems.append(f"exit code {done.returncode}")
    if not last.startswith("audiocnn: runs/") or "Traceback" in done.stderr:
        problems.append(f"says {last!r}")
    return problems


def permitted(*command: str) -> bool:
    return shutil.which(command[0]) is not None and subprocess.run(command, capture_output=True).returncode == 0


def skipped(what: str) -> Iterator[tuple[str, list[str]]]:
    print(f"not done here: {what}")
    return iter(())


if __name__ == "__main__":
    main()
