"""How the package is divided: its modules, rooms, names and imports, counted from the source.

``python benchmarks/house.py [--against REVISION]`` prints each count with its aim, beside those of an older revision
of this git checkout. It imports nothing of the package. The order of the rooms is read from ``tests/test_layering.py``.
"""

import argparse
import ast
import graphlib
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SMALL = 60  # lines; a smaller module needs a reason
LONG_FUNCTION = 60  # lines
Trees = dict[str, tuple[ast.Module, int]]  # by module name: syntax tree and number of lines


@dataclass(frozen=True)
class Count:
    """One property of the package, and what it should be."""

    name: str
    value: str
    aim: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", metavar="REVISION", help="a git revision to compare with")
    options = parser.parse_args()
    now = counts(ROOT)
    before = counts_of_revision(options.against) if options.against else None
    print(f"{'count':<42}{options.against or '':>14}{'now':>14}  aim")
    for i, count in enumerate(now):
        print(f"{count.name:<42}{before[i].value if before else '':>14}{count.value:>14}  {count.aim}")


def counts_of_revision(revision: str) -> list[Count]:
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "tree.tar"
        command = [
            "git",
            "-C",
            str(ROOT),
            "archive",
            "-o",
            str(archive),
            revision,
            "audiocnn",
            "tests/test_layering.py",
        ]
        subprocess.run(command, check=True)
        subprocess.run(["tar", "-xf", str(archive), "-C", folder], check=True)
        return counts(Path(folder))


def counts(root: Path) -> list[Count]:
    trees = read(root / "audiocnn")
    rooms = Counter[str]()
    for module, (_, n_lines) in trees.items():
        rooms[module.partition(".")[0]] += n_lines
    largest, n_largest = max(((name, n) for name, n in rooms.items() if name), key=lambda pair: pair[1])
    own = {module: n for module, (_, n) in trees.items() if not module.endswith("__init__")}
    n_small = sum(n < SMALL for n in own.values())
    functions = [node for tree, _ in trees.values() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    n_long = sum((node.end_lineno or 0) - node.lineno + 1 > LONG_FUNCTION for node in functions)
    classes = [node.name for tree, _ in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    twice = [name for name, n in Counter(classes).items() if n > 1 and not name.startswith("_")]
    upward, circles = arrows(trees, order_of_rooms(root))
    return [
        Count("Python files", str(len(trees)), "at most 175"),
        Count(f"modules under {SMALL} lines, without __init__", str(n_small), "at most 25"),
        Count("largest room", f"{largest} {n_largest / sum(rooms.values()):.0%}", "at most 15 %"),
        Count("longest module, lines", str(max(own.values())), "at most 500"),
        Count(f"functions above {LONG_FUNCTION} lines", str(n_long), "at most 3"),
        Count("public class names that exist twice", str(len(twice)), "0"),
        Count("imports from a lower room to a higher one", str(upward), "0"),
        Count("circles of imports", str(circles), "0"),
    ]


def read(package: Path) -> Trees:
    found = {}
    for file in sorted(package.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        name = ".".join(file.relative_to(package).with_suffix("").parts)
        found[name] = (ast.parse(text), text.count("\n"))
    return found


def order_of_rooms(root: Path) -> list[str]:
    """The tuple ``ROOMS`` of the layering test; a room may import the rooms before it."""
    tree = ast.parse((root / "tests" / "test_layering.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ROOMS":
            return list(ast.literal_eval(node.value))
    raise SystemExit("tests/test_layering.py has no ROOMS")


def arrows(trees: Trees, rooms: list[str]) -> tuple[int, int]:
    """Count imports that go to a later room, and circles, 0 or 1."""
    names = {name.removesuffix(".__init__").removesuffix("__init__"): name for name in trees}
    graph: dict[str, set[str]] = {name: set() for name in names}
    for module, source in names.items():
        for node in ast.walk(trees[source][0]):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "audiocnn":
                base = (node.module or "").removeprefix("audiocnn").removeprefix(".")
                for alias in node.names:
                    inner = f"{base}.{alias.name}".strip(".")
                    graph[module] |= {inner if inner in names else base} - {""}
    rank = {name: number for number, name in enumerate(rooms)}
    pairs = [(a.partition(".")[0], b.partition(".")[0]) for a, targets in graph.items() for b in targets]
    upward = sum(rank.get(a, -1) < rank.get(b, -1) for a, b in pairs)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError:
        return upward, 1
    return upward, 0


if __name__ == "__main__":
    main()
