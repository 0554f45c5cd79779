"""Every command that the README and the tutorial show is run here, in the order in which a reader would type them."""

import re
import shlex
import shutil
from pathlib import Path

import prefork
import pytest
from projects import set_lines

import audiocnn
from audiocnn.dataset import synthesis

ROOT = Path(__file__).resolve().parent.parent
README, TUTORIAL = ROOT / "README.md", ROOT / "docs" / "tutorial.md"
PACKAGE = ROOT / "audiocnn"
IN_A_RUN = ("runs/", "rehearsal/", "sounds/", "my-place/")
PAGES = [README, *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("C*.md")), *sorted(ROOT.glob("*/README.md"))]
TO_INSTALL = [["python3", "-m", "venv", ".venv"], [".", ".venv/bin/activate"], ["pip", "install", ".[train-cpu]"]]


def commands(page: Path) -> list[list[str]]:
    """The commands of a page, each as a list of words."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = (line for block in blocks for line in block.splitlines())
    return [shlex.split(line.removeprefix("$ ")) for line in lines if line.startswith("$ ")]


def run_all(page: Path, folder: Path) -> None:
    """Run the page's ``audiocnn`` commands in ``folder``, with a small network and one epoch."""
    for command in commands(page):
        if command[0] != "audiocnn":
            continue
        done = prefork.run(*command[1:], cwd=folder)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        if command[1] == "init":
            set_lines(folder / "audiocnn.yaml", model='"4C3S2-GAP-*"', epochs="1", explain="1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with what the pages suppose: sounds/ with a sub-folder for each class, new-recordings/ and song.wav."""
    synthesis.write(synthesis.instrument_clips(0, n_players=3, n_recordings=1), tmp_path / "sounds")
    (tmp_path / "sounds" / "manifest.csv").unlink()
    (tmp_path / "new-recordings").mkdir()
    first, *others = sorted((tmp_path / "sounds").rglob("*.wav"))[:3]
    shutil.copy(first, tmp_path / "song.wav")
    for number, file in enumerate((first, *others)):
        shutil.copy(file, tmp_path / "new-recordings" / f"{number}.wav")
    return tmp_path


def test_the_readme_and_the_tutorial_show_the_main_commands() -> None:
    shown = {page: {words[1] for words in commands(page) if words[0] == "audiocnn"} for page in (README, TUTORIAL)}
    assert shown[README] >= {"init", "run", "predict"}
    assert shown[TUTORIAL] >= {"init", "audit", "featurize", "train", "evaluate", "run", "predict", "verify"}


def test_every_command_is_run_or_is_a_target_of_make_or_the_installation() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert [words for words in commands(README) if words[0] not in ("audiocnn", "make")] == TO_INSTALL
    assert {words[0] for words in commands(TUTORIAL)} == {"audiocnn"}
    for tool, *arguments in commands(README):
        assert tool != "make" or set(arguments) <= targets, arguments


def test_the_installation_of_the_readme_names_an_extra_that_there_is() -> None:
    (requirement,) = (words[-1] for words in commands(README) if words[0] == "pip")
    extra = requirement.removeprefix(".[").removesuffix("]")
    assert re.search(rf"^{extra} = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.slow
def test_the_commands_of_the_readme_run_one_after_the_other(folder: Path) -> None:
    run_all(README, folder)
    assert (folder / "runs/sounds/report.html").is_file()
    assert (folder / "predictions.csv").read_text().count("\n") == 1 + 3


@pytest.mark.slow
def test_the_commands_of_the_tutorial_run_one_after_the_other(folder: Path) -> None:
    run_all(TUTORIAL, folder)
    assert (folder / "runs/sounds/report.html").is_file()
    assert (folder / "out.csv").read_text().count("\n") == 1 + 30


def test_the_readme_fits_on_150_lines() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def anchors(page: Path) -> set[str]:
    """What a link to a heading of the page may say, as GitHub makes it of the heading."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_exists(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        linked = page.parent / target if target else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), f"{target}#{anchor}"


@pytest.mark.parametrize("page", [ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")], ids=lambda page: page.name)
def test_the_modules_and_folders_that_a_page_names_exist(page: Path) -> None:
    for name in re.findall(r"`([\w/.]+(?:\.py|\.j2|/))`", page.read_text(encoding="utf-8")):
        if "NAME" not in name and "/" in name.rstrip("/"):
            assert (ROOT / name).exists() or (PACKAGE / name).exists() or name.startswith(IN_A_RUN), name


def test_the_functions_and_classes_that_contributing_names_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    source = "\n".join(file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*.py"))
    steps = text[text.index("## Add an audio format") : text.index("## Where would I")]
    names = set(re.findall(r"`([A-Za-z_]\w+)`", steps)) - {"other"}
    assert len(names) > 30
    assert names - set(re.findall(r"\w+", source)) == set()


def test_the_classes_that_the_architecture_names_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    source = "\n".join(file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*.py"))
    names = set(re.findall(r"`([A-Z][a-z]+[A-Za-z]*)`", text))
    assert len(names) > 15
    assert names - set(re.findall(r"^class (\w+)", source, re.MULTILINE)) == set()


def test_the_citation_is_of_this_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {audiocnn.__version__}\n" in citation


def test_the_index_lists_every_page_of_the_documentation() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"({page.name})" not in index] == ["index.md"]
