"""Write the manifest of a data set from a copy of its audio, or check a copy of the audio against the manifest.

    python data_manifests/make_manifests.py drones PATH/TO/drones            writes drones.csv beside this file
    python data_manifests/make_manifests.py drones PATH/TO/drones --check    names what is missing, extra or changed

Takes a folder with one sub-folder of WAV files per label; needs nothing but the standard library.
Exit code: 0 done, 2 a folder, file or name that cannot be used, 5 audio that is missing or changed.
"""

import argparse
import csv
import hashlib
import io
import os
import re
import sys
from pathlib import Path

COLUMNS = ("path", "label", "group", "sha256")

# What must not straddle a split, as the first capture group of a match with the path. The cards say why.
GROUPS = {
    "instruments": r"^[^/]+/([0-9a-f]{8})\.wav$",
    "drones": r"^[^/]+/(\d-\d+|\w+?_D\d+|Membo_\d+|mixed|(?:pink|white)_noise|silence)",
}


def hash_audio(root: Path) -> dict[str, str]:
    """Return the SHA-256 of every ``<label>/*.wav`` below ``root`` by relative path, sorted; hidden files excepted."""
    files = (file for file in root.glob("*/*.wav") if not file.name.startswith("."))
    hashes = {}
    for file in sorted(files, key=lambda file: file.relative_to(root).as_posix()):
        with open(file, "rb") as opened:
            hashes[file.relative_to(root).as_posix()] = hashlib.file_digest(opened, "sha256").hexdigest()
    if not hashes:
        raise ValueError(f"{root}: holds no <label>/*.wav; give the folder that holds one folder per label")
    return hashes


def make_rows(hashes: dict[str, str], pattern: str) -> list[dict[str, str]]:
    """Return one manifest row for each path; `ValueError` names a path that ``pattern`` gives no group."""
    rows = []
    for path, sha256 in hashes.items():
        match = re.search(pattern, path)
        if match is None:
            raise ValueError(f"{path!r}: the name matches no known group ({pattern}); remove the file or mend GROUPS")
        rows.append({"path": path, "label": path.split("/")[0], "group": match[1], "sha256": sha256})
    return rows


def read_hashes(manifest: Path) -> dict[str, str]:
    """Return the SHA-256 of every recording that a manifest names, by path."""
    with open(manifest, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if not set(COLUMNS) <= set(reader.fieldnames or ()):
            raise ValueError(f"{manifest}: the columns {','.join(COLUMNS)} are not all there; restore the file")
        return {row["path"]: row["sha256"] for row in reader}


def write_rows(manifest: Path, rows: list[dict[str, str]]) -> None:
    """Write ``rows`` as CSV, so that ``manifest`` holds either its old content or all of the new one."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    temporary = manifest.with_name(f".tmp-{os.getpid()}-{manifest.name}")
    try:
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            file.write(text.getvalue())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, manifest)
    finally:
        temporary.unlink(missing_ok=True)


def compare(expected: dict[str, str], found: dict[str, str]) -> list[tuple[str, str]]:
    """Return ``(what, path)`` for each path that is missing, extra or changed, by path."""
    differences = []
    for path in sorted(expected.keys() | found.keys()):
        if path not in found:
            differences.append(("missing", path))
        elif path not in expected:
            differences.append(("extra", path))
        elif expected[path] != found[path]:
            differences.append(("changed", path))
    return differences


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the manifest of a data set, or check audio against it.")
    parser.add_argument("name", choices=sorted(GROUPS))
    parser.add_argument("root", type=Path, help="folder that holds one folder of WAV files per label")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 5 if audio is missing or changed")
    parser.add_argument("--manifest", type=Path, metavar="CSV", help="file to write or check (default: NAME.csv here)")
    arguments = parser.parse_args()
    manifest = arguments.manifest or Path(__file__).with_name(f"{arguments.name}.csv")
    try:
        expected = read_hashes(manifest) if arguments.check else {}
        hashes = hash_audio(arguments.root)
        if not arguments.check:
            write_rows(manifest, make_rows(hashes, GROUPS[arguments.name]))
            print(f"{manifest}: {len(hashes)} recordings")
            return 0
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    differences = compare(expected, hashes)
    for what, path in differences:
        print(what, ascii(path))
    damaged = sum(what != "extra" for what, _ in differences)
    print(f"{manifest}: {len(expected)} recordings, {damaged} missing or changed, {len(differences) - damaged} extra")
    return 5 if damaged else 0


if __name__ == "__main__":
    sys.exit(main())
