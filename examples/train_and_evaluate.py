"""Train and evaluate a model on sounds that this script makes: low and high tones, in noise, from eight "places".

    python examples/train_and_evaluate.py FOLDER [EPOCHS]

Writes the sounds to FOLDER/sounds and runs the commands of a training in FOLDER. The recordings of one place are
one group, so the test part holds places that the network was not trained on. Prints the accuracy; the report is
FOLDER/runs/sounds/report.html. Replace `make_sounds` by your own recordings.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000
HERTZ = {"low": 300, "high": 1_200}
N_PLACES, N_TAKES = 8, 3


def make_sounds(folder: Path) -> None:
    """Write ``label/place-N-take-N.wav``, a second each; every place has a noise level and a tuning of its own."""
    rng = np.random.default_rng(0)
    t = np.arange(RATE) / RATE
    for place in range(N_PLACES):
        noise, tuning = rng.uniform(0.02, 0.2), rng.uniform(0.9, 1.1)
        for label, hz in HERTZ.items():
            (folder / label).mkdir(parents=True, exist_ok=True)
            for take in range(N_TAKES):
                tone = 0.3 * np.sin(2 * np.pi * hz * tuning * t + rng.uniform(0, 2 * np.pi))
                samples = tone + noise * rng.standard_normal(RATE).clip(-3, 3)
                soundfile.write(folder / label / f"place-{place}-take-{take}.wav", samples, RATE)


def audiocnn(*arguments: str, folder: Path) -> None:
    """Run an ``audiocnn`` command in ``folder``; stop if it fails."""
    subprocess.run([sys.executable, "-m", "audiocnn", *arguments], cwd=folder, check=True)


def main(folder: Path, epochs: int = 20) -> float:
    """Return the recording accuracy on the test part."""
    make_sounds(folder / "sounds")
    audiocnn("init", "sounds", "--preset", "instrument", "--group-by", r"place-\d+", folder=folder)
    config = folder / "audiocnn.yaml"
    config.write_text(
        re.sub(r"\bepochs: \d+", f"epochs: {epochs}", config.read_text(encoding="utf-8")), encoding="utf-8"
    )
    audiocnn("run", folder=folder)
    metrics = json.loads((folder / "runs/sounds/metrics.json").read_text(encoding="utf-8"))
    accuracy = metrics["recording"]["accuracy"]
    print(f"accuracy on new places: {accuracy['value']:.2f}, 95 % interval {accuracy['ci95']}")
    return float(accuracy["value"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
