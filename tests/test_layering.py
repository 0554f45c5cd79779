"""The order of the rooms and who may import what, read from the source with `ast`."""

import ast
import graphlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import yaml

import audiocnn
from audiocnn import config

PACKAGE = Path(audiocnn.__file__).resolve().parent

# A room may use the rooms before it, never after (docs/architecture.md).
ROOMS = (
    "errors", "text", "wording", "labels", "streams", "files", "progress", "specs", "config", "new_config", "audio",
    "dataset", "features", "audit", "model", "inference", "formats", "evaluation", "training", "studies",
    "event_tuning", "draw", "export", "explain", "report", "review", "stages", "demo", "api", "terminal", "cli",
    "__main__", "",
)  # fmt: skip

# The rooms that import a library: what it raises and what it changes from version to version stays with them.
OWNERS = {
    "ai_edge_litert": {"model"},
    "cleanlab": {"audit"},
    "click": {"terminal", "cli"},
    "distributed": {"audio"},
    "keras": {"model", "training", "export"},
    "librosa": {"features", "explain"},
    "onnx": {"export"},
    "pebble": {"audio"},
    "pyarrow": {"formats"},
    "rich": {"terminal"},
    "sounddevice": {"audio"},
    "soundfile": {"audio"},
    "soxr": {"audio"},
    "starlette": {"review"},
    "tensorflow": {"model", "training", "explain", "export"},
    "uvicorn": {"review"},
    "yaml": {"config"},
}
# Of these libraries one module alone knows, so that another can take their place.
IN_ONE_MODULE = (
    "ai_edge_litert",
    "cleanlab",
    "distributed",
    "onnx",
    "pebble",
    "pyarrow",
    "sounddevice",
    "starlette",
    "uvicorn",
    "yaml",
)
# Imported inside functions, when they are needed.
SLOW = {"keras", "tensorflow", "librosa", "scipy", "cleanlab", "onnx", "pyarrow"}
# Libraries that come with an extra, by the extra that their guard names; tensorflow is reached through keras.
EXTRAS = {
    "keras": "train",
    "librosa": "train",
    "scipy": "train",
    "sklearn": "train",
    "pandas": "pandas",
    "cleanlab": "labels",
    "sounddevice": "mic",
    "starlette": "review",
    "uvicorn": "review",
}
CODE_RUNNERS = {"pickle", "joblib", "dill", "cloudpickle", "marshal", "shelve", "imp", "runpy"}


@dataclass(frozen=True)
class Import:
    """``module`` imports ``name``; ``lazy`` if only when a function is called, or for the type checker."""

    module: str
    name: str
    lazy: bool

    @property
    def library(self) -> str:
        return self.name.partition(".")[0]


@cache
def sources() -> dict[str, ast.Module]:
    """The syntax trees by module name, without the package's own: ``audio.decode``, ``cli``, ``""`` for its root."""
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    return found


@cache
def imports() -> tuple[Import, ...]:
    return tuple(found for module, tree in sources().items() for found in imports_of(module, tree, lazy=False))


def imports_of(module: str, node: ast.AST, *, lazy: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(module, alias.name, lazy)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{module}: imports are absolute here"
        for alias in node.names:  # 'from audiocnn.audio import decode' imports a module, not an attribute
            is_module = (node.module or "").startswith("audiocnn") and own(f"{node.module}.{alias.name}") in sources()
            yield Import(module, f"{node.module}.{alias.name}" if is_module else str(node.module), lazy)
    elif not lazy:
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        lazy = function or for_type_checker(node)
    for child in ast.iter_child_nodes(node):
        yield from imports_of(module, child, lazy=lazy)


def for_type_checker(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def own(name: str) -> str:
    return name.removeprefix("audiocnn").removeprefix(".")


def within() -> list[tuple[str, str]]:
    """Pairs of our own modules, importer and imported."""
    return [(i.module, own(i.name)) for i in imports() if i.library == "audiocnn" and own(i.name)]


def importers(library: str) -> set[str]:
    return {i.module for i in imports() if i.library == library}


def room(module: str) -> str:
    return module.partition(".")[0]


@cache
def calls() -> tuple[tuple[str, str, ast.Call], ...]:
    """Return module, what is called as it is written there, and the call, for each call."""
    return tuple(
        (module, ast.unparse(node.func), node)
        for module, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    )


def test_every_module_belongs_to_a_room() -> None:
    assert {room(module) for module in sources()} - {""} <= set(ROOMS)
    assert len(sources()) > 30


def test_a_room_uses_only_the_rooms_before_it() -> None:
    rank = {name: number for number, name in enumerate(ROOMS)}
    assert [pair for pair in within() if rank[room(pair[0])] < rank[room(pair[1])]] == []


def test_no_module_needs_itself_through_others() -> None:
    graph: dict[str, set[str]] = {}
    for importer, imported in within():
        graph.setdefault(importer, set()).add(imported)
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_stages_do_not_import_each_other() -> None:
    assert [pair for pair in within() if room(pair[0]) == room(pair[1]) == "stages"] == []


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_is_imported_only_in_the_rooms_that_own_it(library: str) -> None:
    assert {room(module) for module in importers(library)} == OWNERS[library], importers(library)


@pytest.mark.parametrize("library", IN_ONE_MODULE)
def test_a_library_that_may_be_replaced_is_imported_by_one_module(library: str) -> None:
    assert len(importers(library)) == 1, importers(library)


def test_what_is_slow_to_import_is_imported_inside_functions() -> None:
    assert [i for i in imports() if i.library in SLOW and not i.lazy] == []


def unguarded(module: str, node: ast.AST, *, guard: str = "") -> Iterator[Import]:
    """Yield imports of `EXTRAS` that no ``with needs_extra(...)`` of the right extra holds."""
    if for_type_checker(node):
        return
    if isinstance(node, ast.Import | ast.ImportFrom):
        for found in imports_of(module, node, lazy=False):
            if found.library in EXTRAS and guard != f"needs_extra('{EXTRAS[found.library]}')":
                yield found
    if isinstance(node, ast.With):
        guard = ast.unparse(node.items[0].context_expr)
    for child in ast.iter_child_nodes(node):
        yield from unguarded(module, child, guard=guard)


def test_a_library_of_an_extra_is_imported_under_a_guard_that_names_the_extra() -> None:
    assert {i.library for i in imports()} >= set(EXTRAS)
    assert [found for module, tree in sources().items() for found in unguarded(module, tree)] == []


def test_only_the_command_line_and_its_terminal_print() -> None:
    printing = {module for module, called, _ in calls() if called in ("print", "click.echo", "click.secho")}
    printing |= {module for module, called, _ in calls() if called in ("sys.stdout.write", "sys.stderr.write")}
    assert {room(module) for module in printing} == {"terminal", "cli"}, printing


def test_nothing_that_is_read_can_run_code() -> None:
    assert [i for i in imports() if i.library in CODE_RUNNERS] == []
    builtin = {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}
    assert [(module, called) for module, called, _ in calls() if called in builtin] == []
    loaders = ("load_model", "unsafe_load", "full_load", "load_all")
    assert [(module, called) for module, called, _ in calls() if called.endswith(loaders)] == []
    for module, _, call in calls():
        for keyword in call.keywords:
            assert keyword.arg not in ("allow_pickle", "shell") or ast.unparse(keyword.value) == "False", module


def test_yaml_is_loaded_by_a_safe_loader() -> None:
    loads = [(module, ast.unparse(call)) for module, called, call in calls() if called == "yaml.load"]
    assert {module for module, _ in loads} == importers("yaml")
    assert all(text.endswith("Loader=_Loader)") for _, text in loads)
    assert issubclass(config._Loader, yaml.SafeLoader)


def test_randomness_comes_from_generators_that_are_given_a_seed() -> None:
    assert [i for i in imports() if i.library == "random"] == []
    drawn = [(module, ast.unparse(call)) for module, called, call in calls() if called.startswith("np.random.")]
    assert [text for text in drawn if not text[1].startswith("np.random.default_rng(")] == []
    assert [text for text in drawn if text[1] == "np.random.default_rng()"] == []
