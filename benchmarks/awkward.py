"""What becomes of awkward sound files, by kind: ``python benchmarks/awkward.py FOLDER`` prints the table of the docs.

FOLDER holds ``MANIFEST.csv`` with the columns file, kind and silent_problem. Every file is put through `audiocnn
predict`; the script fails if one is missing among its rows, or if anything but audiocnn itself writes to stderr.
"""

import csv
import io
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

# Codes that compare a recording with those of the training, whatever the file is like.
OF_THE_MODEL = ("unfamiliar", "unsure", "narrow_band", "wide_band", "quiet_recording", "loud_recording", "noisy")


def main(folder: Path) -> None:
    with open(folder / "MANIFEST.csv", encoding="utf-8", newline="") as lines:
        listed = {row["file"]: row for row in csv.DictReader(lines)}
    done = subprocess.run(
        [sys.executable, "-m", "audiocnn", "-q", "predict", "--format", "csv", "--", *listed],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    rows = {row["recording"].removeprefix("./"): row for row in csv.DictReader(io.StringIO(done.stdout))}
    foreign = [line for line in done.stderr.splitlines() if not line.startswith("no audiocnn.yaml here")]
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    codes: dict[str, Counter[str]] = defaultdict(Counter)
    unnamed = []
    for name, entry in listed.items():
        row = rows[name]
        found = [code for code in row["reason"].split(";") if code and code not in OF_THE_MODEL]
        used = "used with a warning" if found else "used"
        outcome = used if row["status"] in ("ok", "unknown") else "quarantined"
        outcomes[entry["kind"]][outcome] += 1
        codes[entry["kind"]].update(found)
        if entry["silent_problem"] and outcome == "used":
            unnamed.append(f"{name}: {entry['silent_problem']}")
    print("| kind | files | used | with a warning | quarantined | codes |")
    print("|---|---|---|---|---|---|")
    for kind in sorted(outcomes):
        found = outcomes[kind]
        named = ", ".join(f"{code} {n}" for code, n in codes[kind].most_common())
        numbers = " | ".join(str(found[what]) for what in ("used", "used with a warning", "quarantined"))
        print(f"| {kind} | {found.total()} | {numbers} | {named} |")
    print(f"\n{len(rows)} rows for {len(listed)} files, exit code {done.returncode}, {len(foreign)} foreign lines")
    print(f"{len(unnamed)} silent problems without a code", *unnamed, sep="\n  ")
    sys.exit(bool(foreign) or len(rows) != len(listed) or done.returncode != 3)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
