"""Processing on a Dask cluster of real schedulers and workers gives the same stores and predictions as without one."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import soundfile
import sounds
from deeds import hand_out, misbehave, shorten_limit, tell_tool

from audiocnn import config
from audiocnn.audio import cluster, decode
from audiocnn.errors import AudioError, ConfigError, MissingExtraError
from audiocnn.files import TEMPORARY
from audiocnn.inference.batch import score_files
from audiocnn.model import bundle
from audiocnn.model.locate import SHIPPED
from audiocnn.progress import Progress
from audiocnn.stages import featurize

distributed = pytest.importorskip("distributed", reason="needs the [cluster] extra")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")]

HERE = Path(__file__).resolve().parent
DEADLINE_S = 40.0
N_STORED = 22  # of the 27 recordings: two say the same as another, and three cannot be read


def until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, f"{what}: not in {DEADLINE_S:g} s"
        time.sleep(0.01)


class Machines:
    """A scheduler and workers of one thread each, as commands on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self.start("dask_scheduler", "--port", "0", "--scheduler-file", str(self.file))
        until(lambda: self.file.exists() and self.file.stat().st_size > 0, "a scheduler")
        self.address: str = json.loads(self.file.read_text())["address"]

    @property
    def file(self) -> Path:
        return self.folder / "scheduler.json"

    def worker(self, *options: str) -> subprocess.Popen[bytes]:
        name = ["--name", f"worker{len(self.processes)}", "--local-directory", str(self.folder)]
        return self.start("dask_worker", self.address, "--nthreads", "1", *name, *options)

    def start(self, module: str, *options: str) -> subprocess.Popen[bytes]:
        quiet = ["--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
        command = [sys.executable, "-m", f"distributed.cli.{module}", *quiet, *options]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)])}
        with open(self.folder / f"{len(self.processes)}.log", "wb") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self.processes.append(process)
        return process

    def end(self) -> None:
        for process in self.processes:
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # a nanny and its worker
    process.wait()


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """A scheduler with one worker under a nanny, which is a daemon."""
    made = Machines(tmp_path_factory.mktemp("machines"))
    try:
        made.worker("--nanny")
        wait_for_workers(made, 1)
        yield made
    finally:
        made.end()


def wait_for_workers(machines: Machines, count: int) -> None:
    with distributed.Client(machines.address, set_as_default=False) as client:
        client.wait_for_workers(count, timeout=DEADLINE_S)


def children(process: int) -> set[int]:
    """Processes that this one has started, ended ones too as long as it has not noticed."""
    found = set()
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if int(file.read_text().rpartition(")")[2].split()[1]) == process:
                found.add(int(file.parent.name))
    return found


def runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# What comes of tasks


def collected(function, tasks: list[object], folder: Path | None, scheduler: str, **options) -> dict[int, object]:
    outcomes = {}
    paths = [(Path("nowhere"), (task,)) for task in tasks]
    for done in cluster.map_files(function, paths, scheduler=scheduler, folder=folder, **options):
        assert done.index not in outcomes
        outcomes[done.index] = done.result.code if isinstance(done.result, AudioError) else done.result
    return outcomes


def test_each_task_has_its_own_result_and_none_harms_a_dask_worker(machines, tmp_path):
    deeds = {1: "exit", 3: "loop", 4: "bomb", 7: "refuse"}
    wanted: dict[int, object] = {i: i**2 for i in range(9)}  # three batches, and each has one that is well
    wanted |= {1: "crashed", 3: "timeout", 4: "out_of_memory", 7: "decode_error"}
    tasks = [deeds.get(i, i) for i in range(9)]
    assert collected(misbehave, tasks, tmp_path, machines.address, setup=shorten_limit) == wanted
    assert [process.poll() for process in machines.processes] == [None] * len(machines.processes)
    assert list(tmp_path.iterdir()) == []


def test_a_batch_whose_process_is_killed_repeatedly_is_reported_in_one_line(machines, tmp_path):
    with pytest.raises(ConfigError, match=r"^worker tcp://127\S+: its process failed \(exit code -9\); see") as refusal:
        collected(misbehave, ["end everything but the task"], tmp_path, machines.address)
    assert "\n" not in str(refusal.value)


def test_a_bug_is_raised_with_the_place_where_it_happened(machines, tmp_path):
    with pytest.raises(AssertionError) as caught:
        collected(misbehave, ["unheard of"], tmp_path, machines.address)
    assert "in misbehave" in "".join(caught.value.__notes__)


def test_setup_runs_on_the_worker_before_its_tasks_or_the_worker_refuses(machines):
    given = partial(collected, tell_tool, [1, 2], None, machines.address)
    assert given(setup=partial(hand_out, "hammer")) == dict.fromkeys(range(2), "hammer")
    with pytest.raises(ConfigError, match=r"^worker tcp://\S+: its tool is broken$"):
        given(setup=partial(hand_out, "broken"))


def test_no_tasks_give_no_results(machines, tmp_path):
    assert collected(misbehave, [], tmp_path, machines.address) == {}


def test_remaining_tasks_are_cancelled_when_the_results_are_abandoned(machines, tmp_path):
    results = cluster.map_files(
        misbehave, [(Path("x"), (i,)) for i in range(100)], scheduler=machines.address, folder=tmp_path
    )
    next(results)
    results.close()
    nothing_queued(machines)


def nothing_queued(machines: Machines) -> None:
    with distributed.Client(machines.address, set_as_default=False) as client:
        until(lambda: not client.run_on_scheduler(n_tasks), "nothing queued")


def n_tasks(dask_scheduler) -> int:
    return len(dask_scheduler.tasks)


def test_a_worker_with_another_folder_or_without_a_recording_refuses(machines, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "write_atomic", lambda path, data: None)
    with pytest.raises(ConfigError, match=r"^worker tcp://\S+ .* is another folder there"):
        collected(misbehave, [1], tmp_path, machines.address)
    monkeypatch.undo()
    (tmp_path / "x").touch()

    exists = Path.exists

    def seen_here_only(path: Path) -> bool:
        return path.name == "nowhere" or exists(path)

    monkeypatch.setattr(Path, "exists", seen_here_only)
    with pytest.raises(ConfigError, match=r"^worker tcp://\S+ nowhere is missing there; recordings must be"):
        collected(misbehave, [1], tmp_path, machines.address)


# Featurize


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of 27 recordings: good, short, silent, broken, cut off, and some repeated."""
    folder = tmp_path_factory.mktemp("recordings")
    a, b = folder / "sounds" / "a", folder / "sounds" / "b"
    a.mkdir(parents=True)
    b.mkdir()
    for i in range(20):
        soundfile.write(a / f"{i}.wav", sounds.noise(2 + 0.2 * i, seed=i), sounds.RATE)
    for i in range(2):
        shutil.copy(a / "7.wav", b / f"again {i}.wav")
    soundfile.write(b / "zeros.wav", sounds.silence(1), sounds.RATE)
    soundfile.write(b / "short.wav", sounds.noise(0.05), sounds.RATE)
    soundfile.write(b / "cut.flac", sounds.noise(2), sounds.RATE)
    (b / "cut.flac").write_bytes((b / "cut.flac").read_bytes()[:20_000])
    (b / "text.wav").write_text("no sound")
    (b / "empty.wav").touch()
    ended(audiocnn("init", "sounds", "--name", "x", "--preset", "instrument", cwd=folder), code=0)
    return folder


def audiocnn(*arguments: str | Path, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "audiocnn", *map(os.fspath, arguments)],
        cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # What a shell runs in the background ignores Ctrl-C, and so would what it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def ended(process: subprocess.Popen[str], code: int) -> tuple[str, str]:
    try:
        out, err = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
    assert process.returncode == code, out + err
    return out, err


@pytest.fixture(scope="module")
def here(recordings: Path) -> dict[str, bytes]:
    """What a run on this machine makes of the recordings."""
    featurize.run(config.read(recordings / "audiocnn.yaml"), jobs=1, progress=Progress())
    made = contents(recordings / "runs")
    shutil.rmtree(recordings / "runs")
    assert len([name for name in made if name.endswith(".safetensors")]) == N_STORED
    return made


@pytest.fixture
def place(recordings: Path, here: dict[str, bytes], tmp_path: Path) -> Path:
    """The same project elsewhere, as the store must not depend on where it is."""
    return Path(shutil.copytree(recordings, tmp_path / "place"))


def contents(folder: Path) -> dict[str, bytes]:
    """What runs have made, but for the lock and what a killed process had begun, which never counts."""
    files = [file for file in folder.rglob("*") if file.is_file() and not file.name.startswith((".lock", TEMPORARY))]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def stored(place: Path) -> int:
    return len(list(place.rglob("*.safetensors")))


def kill_at_work(doomed: subprocess.Popen[bytes], begun: Callable[[], bool]) -> set[int]:
    """Kill a Dask worker in the middle of a batch; return the processes that it had started."""

    def at_work() -> bool:
        if not begun() or not children(doomed.pid):
            return False
        doomed.send_signal(signal.SIGSTOP)  # from here on it cannot hand in what its child has done
        if not children(doomed.pid):
            doomed.send_signal(signal.SIGCONT)
        return bool(children(doomed.pid))

    until(at_work, "a batch on the worker")
    orphans = children(doomed.pid)
    doomed.kill()
    doomed.wait()
    return orphans


def test_an_interrupted_run_leaves_nothing_queued_and_the_next_finishes_the_same_store_although_a_worker_is_killed(
    machines, place, here
):
    command = audiocnn("featurize", "--scheduler", machines.address, cwd=place)
    until(lambda: stored(place), "a first recording")
    command.send_signal(signal.SIGINT)
    _, err = ended(command, code=130)
    assert err == "audiocnn: interrupted; finished work is kept\n"
    n_before = stored(place)
    assert n_before < N_STORED
    nothing_queued(machines)

    doomed = machines.worker("--no-nanny")
    wait_for_workers(machines, 2)
    command = audiocnn("featurize", "--scheduler", machines.address, cwd=place)
    orphans = kill_at_work(doomed, lambda: stored(place) > n_before)
    assert stored(place) < N_STORED
    out, _ = ended(command, code=3)
    assert contents(place / "runs") == here
    until(lambda: not any(map(runs, orphans)), "the end of its processes")
    assert "4 quarantined" in out

    project = config.read(place / "audiocnn.yaml")
    again = featurize.run(project, jobs=1, progress=Progress(), scheduler=machines.address)
    assert again.n_computed == 3  # those that are never in the store
    assert contents(place / "runs") == here
    assert list(place.rglob(f"{TEMPORARY}*")) == []


def test_workers_with_other_versions_are_refused_before_they_write_anything(machines, place, monkeypatch):
    theirs = decode.LIBRARIES["soxr"]
    monkeypatch.setitem(decode.LIBRARIES, "soxr", "0.0.1")
    project = config.read(place / "audiocnn.yaml")
    says = rf"^worker tcp://127\.0\.0\.1:\d+: it has soxr {theirs}, not 0\.0\.1; install the same versions"
    with pytest.raises(ConfigError, match=says):
        featurize.run(project, jobs=1, progress=Progress(), scheduler=machines.address)
    assert stored(place) == 0


# Predict


@pytest.fixture(scope="module")
def said_here(recordings: Path) -> bytes:
    """The predictions of the recordings when they are predicted on this machine."""
    ended(predict(recordings, "said.csv", "--jobs", "1"), code=3)
    said = (recordings / "said.csv").read_bytes()
    (recordings / "said.csv").unlink()
    return said


def predict(place: Path, out: str, *options: str) -> subprocess.Popen[str]:
    """Without a project, so that it is the model which comes with audiocnn; windows show the last digit."""
    return audiocnn("predict", "sounds", "--model", SHIPPED, "--windows", "-o", out, *options, cwd=place)


def noted(place: Path) -> int:
    """Bytes of the journal that is kept until a prediction is complete."""
    return sum(file.stat().st_size for file in place.glob("*.journal/*.journal"))


def test_an_interrupted_prediction_resumes_to_the_same_bytes_although_a_worker_is_killed(machines, place, said_here):
    command = predict(place, "said.csv", "--scheduler", machines.address)
    until(lambda: noted(place), "a first recording")
    command.send_signal(signal.SIGINT)
    _, err = ended(command, code=130)
    assert err.endswith("audiocnn: interrupted; finished work is kept\n")
    nothing_queued(machines)
    n_before = noted(place)
    assert n_before and not (place / "said.csv").exists()

    doomed = machines.worker("--no-nanny")
    wait_for_workers(machines, 2)
    command = predict(place, "said.csv", "--scheduler", machines.address)
    orphans = kill_at_work(doomed, lambda: noted(place) > n_before)
    _, err = ended(command, code=3)
    assert (place / "said.csv").read_bytes() == said_here
    until(lambda: not any(map(runs, orphans)), "the end of its processes")
    assert "known from an earlier run" in err
    assert "27 recordings, " in err and ": 23 ok, 1 silent, 3 unreadable; " in err
    assert not list(place.glob("*.journal"))


def test_recordings_in_the_journal_are_not_scored_again(machines, recordings):
    model = bundle.load(SHIPPED)
    files = sorted((recordings / "sounds" / "a").iterdir())[:2]
    first = dict(score_files(files, model, jobs=1, scheduler=machines.address))
    known = {first[0].sha256}
    again = dict(score_files(files, model, jobs=1, known=known, scheduler=machines.address))
    assert [again[i].recording_status is None for i in range(2)] == [True, False]
    assert [again[i].sha256 for i in range(2)] == [first[i].sha256 for i in range(2)]


def test_a_worker_with_another_model_or_none_or_other_versions_refuses(machines, recordings, monkeypatch):
    model, files = bundle.load(SHIPPED), [recordings / "sounds" / "a" / "1.wav"]
    elsewhere = replace(model, folder=recordings / "model")
    with pytest.raises(
        ConfigError, match=r"^worker tcp://\S+: \S+: not a model .*; the model must be at the same path"
    ):
        list(score_files(files, elsewhere, jobs=1, scheduler=machines.address))
    other = replace(model, digest="0" * 64)
    says = rf"^worker tcp://\S+: {SHIPPED} is another model there \(its digest is {model.digest[:12]}, not 0{{12}}\);"
    with pytest.raises(ConfigError, match=says):
        list(score_files(files, other, jobs=1, scheduler=machines.address))
    monkeypatch.setitem(decode.LIBRARIES, "soxr", "0.0.1")
    with pytest.raises(
        ConfigError, match=r"^worker tcp://\S+: it has soxr \S+, not 0\.0\.1; install the same versions"
    ):
        list(score_files(files, model, jobs=1, scheduler=machines.address))


# What is refused


def refusal(place: Path, scheduler: str, capfd: pytest.CaptureFixture[str]) -> str:
    """The message of a run, besides which nothing is printed."""
    project = config.read(place / "audiocnn.yaml")
    with pytest.raises(ConfigError) as caught:
        featurize.run(project, jobs=1, progress=Progress(), scheduler=scheduler)
    assert capfd.readouterr() == ("", "")
    assert stored(place) == 0
    return str(caught.value)


def test_an_address_without_a_scheduler_is_refused(place, monkeypatch, capfd):
    monkeypatch.setattr(cluster, "CONNECT_S", 0.5)
    with socket.socket() as taken:  # and not listening, so whoever asks is refused
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        assert refusal(place, address, capfd).startswith(
            f"{address}: no Dask scheduler answers within 0.5 s; start 'dask scheduler' there"
        )


@pytest.mark.parametrize("address", ["nonsense", "http://127.0.0.1:1", "tcp://127.0.0.1:port"])
def test_an_invalid_address_is_refused(address, place, capfd):
    says = f"{address}: not the address of a Dask scheduler; write it as in tcp://host:8786"
    assert refusal(place, address, capfd) == says


@pytest.fixture(scope="module")
def lonely(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """A scheduler whose workers do not stay."""
    made = Machines(tmp_path_factory.mktemp("lonely"))
    yield made
    made.end()


def test_a_scheduler_without_workers_is_refused(lonely, place, capfd):
    told = refusal(place, lonely.address, capfd)
    assert told.startswith(f"{lonely.address}: the cluster has no workers; start some with")


@pytest.mark.parametrize("another", [False, True])
def test_workers_that_leave_before_the_first_task_are_replaced_or_reported_in_one_line(lonely, monkeypatch, another):
    started = [lonely.worker("--no-nanny")]
    wait_for_workers(lonely, 1)
    kept = cluster._broadcast

    def left(client, packed):
        kill(started[0])
        until(lambda: not client.nthreads(), "no worker")
        if another:
            started.append(lonely.worker("--no-nanny"))
        return kept(client, packed)

    monkeypatch.setattr(cluster, "_broadcast", left)
    monkeypatch.setattr(cluster, "NO_WORKER_S", DEADLINE_S if another else 1)
    try:
        if another:
            assert collected(misbehave, [2, 3], None, lonely.address) == {0: 4, 1: 9}
        else:
            with pytest.raises(ConfigError, match=r"no worker is left; start some and run it again: finished work is"):
                collected(misbehave, [2, 3], None, lonely.address)
    finally:
        kill(started[-1])


def test_a_scheduler_that_ends_during_work_is_reported_in_one_line_and_finished_work_is_kept(place, here, tmp_path):
    machines = Machines(tmp_path)
    try:
        machines.worker("--no-nanny")
        wait_for_workers(machines, 1)
        command = audiocnn("featurize", "--scheduler", machines.address, cwd=place)
        until(lambda: stored(place), "a first recording")
        machines.processes[0].kill()
        _, err = ended(command, code=2)
    finally:
        machines.end()
    says = "the Dask scheduler has ended; start it and run it again: finished work is kept"
    assert err == f"audiocnn: {machines.address}: {says}\n"
    made = contents(place / "runs")
    assert 0 < stored(place) < N_STORED
    assert {name for name in made if name.endswith(".safetensors") and made[name] != here[name]} == set()


@pytest.mark.parametrize("command", [["featurize"], ["predict", "sounds", "--model", SHIPPED]])
def test_jobs_and_a_scheduler_exclude_each_other(command, place):
    _, err = ended(audiocnn(*command, "--jobs", "2", "--scheduler", "tcp://127.0.0.1:1", cwd=place), code=2)
    assert "--jobs is for this machine and --scheduler for a cluster" in err


def test_without_the_extra_the_message_names_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"^distributed: not installed; pip install 'audiocnn\[cluster\]'$"):
        collected(misbehave, [1], tmp_path, "tcp://127.0.0.1:1")
