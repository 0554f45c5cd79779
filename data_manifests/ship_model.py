"""Make the model that comes with audiocnn: ``python data_manifests/ship_model.py PATH/TO/instruments``.

The three commands on ``instruments.csv`` with the general preset, calibrated by folds, in a temporary folder; the
bundle and the figures on its test part then take their places in the package. Source, licence and citation of the card
come from ``instruments.yaml``.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
MODELS = HERE.parent / "audiocnn" / "models"


def about(card: dict[str, Any]) -> str:
    """The paragraph on the recordings for the model card, from their provenance card."""
    source = card["sources"][0]
    return "\n".join([
        f"{card['title']} ({source['url']}, doi:{source['doi']}).",
        f"Licence: {card['licence']}.",
        f"Citation: {source['citation']}",
        "Made by: python data_manifests/ship_model.py PATH/TO/instruments",
    ])  # fmt: skip


def main(sounds: Path) -> None:
    """Train in a temporary folder and put the result into the package."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def audiocnn(*arguments: str) -> None:
            subprocess.run([sys.executable, "-m", "audiocnn", *arguments], cwd=folder, check=True)

        manifest = str(HERE / "instruments.csv")
        audiocnn("init", manifest, "--root", str(sounds.resolve()), "--name", "instrument", "--preset", "general")
        config = folder / "audiocnn.yaml"
        text = json.dumps(about(yaml.safe_load((HERE / "instruments.yaml").read_text(encoding="utf-8"))))
        settings = config.read_text(encoding="utf-8").replace('about: ""', f"about: {text}")
        settings = settings.replace("\n  folds: 0 ", "\n  folds: 5 ")  # few recordings are better calibrated that way
        config.write_text(settings, encoding="utf-8")
        audiocnn("run")
        run = folder / "runs" / "instrument"
        shutil.rmtree(MODELS / "instrument", ignore_errors=True)
        shutil.copytree(run / "model", MODELS / "instrument")
        shutil.copy(run / "metrics.json", MODELS / "instrument-test-metrics.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
