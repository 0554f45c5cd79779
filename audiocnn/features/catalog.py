"""What `featurize` says about every recording of a manifest, kept beside the store and read by what follows."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from audiocnn.errors import IntegrityError, NotReadyError
from audiocnn.features.listen import Account, Status
from audiocnn.features.store import FeatureStore
from audiocnn.files import write_atomic
from audiocnn.specs import FeatureSpec
from audiocnn.text import safe_cell

_COLUMNS = (
    "path", "status", "reason", "detail", "sha256", "duration_s", "analysed_s", "sample_rate", "channels", "n_frames",
)  # fmt: skip
_OF_FEATURES = ("silent", "beyond_end")  # codes of recordings that were decoded well


def write(store: FeatureStore, accounts: Mapping[str, Account]) -> None:
    """Write ``recordings.csv`` of a store: one row a recording, sorted by path."""
    rows = [
        (
            path, a.status, a.reason, safe_cell(a.detail), a.sha256, repr(a.duration_s), repr(a.analysed_s),
            a.sample_rate, a.n_channels, a.n_frames,
        )
        for path, a in sorted(accounts.items())
    ]  # fmt: skip
    write_atomic(_file(store), _csv(_COLUMNS, rows))


def read(store: FeatureStore, paths: Sequence[str], *, current: FeatureSpec | None = None) -> dict[str, Account]:
    """Return the accounts of these recordings; raise `NotReadyError` if the store has no features of one of them.

    ``current`` are the features that ``audiocnn.yaml`` sets, for the message: ``featurize`` fills no other store.
    """
    accounts = known(store)
    if accounts is None:
        remedy = _remedy(store.spec, current) or "run 'audiocnn featurize' first"
        raise NotReadyError(f"no features with these settings in {store.folder.parent}; {remedy}")
    missing = [path for path in paths if path not in accounts]
    if missing:
        remedy = _remedy(store.spec, current) or "run 'audiocnn featurize' again"
        raise NotReadyError(f"{missing[0]} (one of {len(missing)}) has no features; {remedy}")
    return {path: accounts[path] for path in paths}


def known(store: FeatureStore) -> dict[str, Account] | None:
    """Return the accounts of all recordings of which the store still has the features; None before the first."""
    file = _file(store)
    if not file.is_file():
        return None
    status: dict[str, Status] = {"ok": "ok", "silent": "silent", "unreadable": "unreadable"}
    try:
        with open(file, encoding="utf-8", newline="") as lines:
            accounts = {
                row["path"]: Account(
                    status=status[row["status"]],
                    codes=tuple(row["reason"].split(";")) if row["reason"] else (),
                    detail=row["detail"],
                    sha256=row["sha256"],
                    duration_s=float(row["duration_s"]),
                    analysed_s=float(row["analysed_s"]),
                    sample_rate=int(row["sample_rate"]),
                    n_channels=int(row["channels"]),
                    n_frames=int(row["n_frames"]),
                )
                for row in csv.DictReader(lines)
            }
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{file}: damaged ({error}); delete it and run 'audiocnn featurize' again") from error
    return {path: a for path, a in accounts.items() if a.status != "ok" or store.file(a.sha256).is_file()}


def _remedy(spec: FeatureSpec, current: FeatureSpec | None) -> str:
    """What to do for features that ``featurize`` does not compute, as ``audiocnn.yaml`` sets others; else empty."""
    if current is None or current == spec:
        return ""
    wanted, there = spec.model_dump(mode="json"), current.model_dump(mode="json")
    differing = [f"{name}: {json.dumps(value)}" for name, value in wanted.items() if value != there[name]]
    return f"set features back to {', '.join(differing)} and run 'audiocnn featurize', or train a new model"


def write_quarantine(file: Path, accounts: Iterable[tuple[str, Account]]) -> None:
    """Write ``quarantine.csv``: path, sha256, code, reason and stage of everything that cannot be used."""
    rows = sorted(
        (path, a.sha256, a.codes[0], safe_cell(a.detail), "features" if a.codes[0] in _OF_FEATURES else "decode")
        for path, a in accounts
        if a.status != "ok"
    )
    write_atomic(file, _csv(("path", "sha256", "code", "reason", "stage"), rows))


def _file(store: FeatureStore) -> Path:
    return store.folder / "recordings.csv"


def _csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return out.getvalue()
