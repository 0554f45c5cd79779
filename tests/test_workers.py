"""Worker processes: a task that harms its worker affects no other task, and its result names what happened."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
from deeds import (
    SlowStart,
    chatter,
    divide,
    hold,
    large,
    leak,
    meet,
    misbehave,
    pid,
    rest,
    rest_and_hang,
    sleep_1_s,
    square,
    step,
    wait_for,
)

from audiocnn.audio import workers
from audiocnn.errors import AudioError

linux = pytest.mark.skipif(sys.platform != "linux", reason="memory limits and orphans are dealt with on Linux only")


@pytest.fixture
def short_limit(monkeypatch) -> None:
    """One second for every task."""
    monkeypatch.setattr(workers, "TIME_LIMIT_S", 1.0)


def run(function, count_or_tasks, *, jobs: int = 2) -> dict[int, object]:
    """Results by task number; an `AudioError` is shown as its code."""
    tasks = range(count_or_tasks) if isinstance(count_or_tasks, int) else count_or_tasks
    outcomes = {}
    for done in workers.map_files(function, [(Path("nowhere"), (task,)) for task in tasks], jobs=jobs):
        assert done.index not in outcomes
        outcomes[done.index] = done.result.code if isinstance(done.result, AudioError) else done.result
    return outcomes


DEEDS = {
    "abort": "crashed",
    "exit": "crashed",
    "exit as if all were well": "timeout",  # Pebble does not notice exit code 0
    "loop": "timeout",
    "loop and ignore signals": "timeout",
    "bomb": "out_of_memory",
    "refuse": "decode_error",
}


# What comes of them


@pytest.mark.slow
@linux
@pytest.mark.usefixtures("short_limit")
@pytest.mark.parametrize("jobs", [1, 3])
def test_each_of_16_tasks_has_its_own_result_whatever_the_others_do(jobs):
    tasks: list[object] = [*DEEDS, *range(16 - len(DEEDS))]
    order = np.random.default_rng(jobs).permutation(16)
    outcomes = run(misbehave, [tasks[i] for i in order], jobs=jobs)
    assert len(outcomes) == 16
    for index, task in enumerate(order):
        deed = tasks[task]
        wanted = {deed**2 if isinstance(deed, int) else DEEDS[deed]}
        if deed == "abort":
            wanted.add("timeout")  # on a busy machine dying takes a while
        assert outcomes[index] in wanted, deed


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_an_immediate_crash_of_every_other_task_is_always_reported_as_a_crash(jobs):
    outcomes = run(misbehave, [i if i % 2 else "exit" for i in range(8)], jobs=jobs)
    assert {i: outcomes[i] for i in range(1, 8, 2)} == {i: i**2 for i in range(1, 8, 2)}
    # Dying may take a while where much is going on.
    assert {outcomes[i] for i in range(0, 8, 2)} <= {"crashed", "timeout"}


@linux
def test_a_worker_may_allocate_memory_up_to_the_limit_and_no_more(monkeypatch):
    monkeypatch.setattr(workers, "MEMORY_LIMIT_BYTES", 200 << 20)
    assert run(hold, [100 << 20, 1 << 30, 1 << 20]) == {0: 100 << 20, 1: "out_of_memory", 2: 1 << 20}


@linux
def test_memory_that_leaks_slowly_is_limited_too(monkeypatch):
    monkeypatch.setattr(workers, "MEMORY_LIMIT_BYTES", 50 << 20)
    assert run(leak, 1) == {0: "out_of_memory"}


@pytest.mark.slow
def test_the_time_limit_grows_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "TIME_LIMIT_S", 0.3)
    for name, size in {"small": 0, "large": 400 << 20}.items():  # 20 MB a second: 21 s more
        with open(tmp_path / name, "wb") as file:
            file.truncate(size)
    tasks = [(tmp_path / name, (0,)) for name in ("small", "large")]
    small, large_one = sorted(workers.map_files(sleep_1_s, tasks, jobs=2), key=lambda done: done.index)
    assert isinstance(small.result, AudioError)
    assert small.result.code == "timeout"
    assert large_one.result == "slept"


@pytest.mark.slow
def test_a_slow_consumer_of_results_causes_no_timeouts(monkeypatch):
    monkeypatch.setattr(workers, "TIME_LIMIT_S", 0.5)
    results = workers.map_files(square, [(Path("x"), (i,)) for i in range(8)], jobs=2)
    found = []
    for done in results:
        found.append(done.result)
        if len(found) < 3:
            time.sleep(0.8)
    assert sorted(found) == [i**2 for i in range(8)]


def test_a_bug_is_raised_with_the_place_where_it_happened():
    with pytest.raises(ZeroDivisionError) as caught:
        run(divide, [4, 2, 0, 1])
    assert "in divide" in str(caught.value.__cause__)
    assert multiprocessing.active_children() == []


def test_abandoned_results_leave_no_process():
    results = workers.map_files(square, [(Path("x"), (i,)) for i in range(10)], jobs=2)
    next(results)
    results.close()
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_nothing_that_a_worker_prints_reaches_the_terminal(capfd):
    assert run(chatter, 4) == {i: i for i in range(4)}
    run(misbehave, ["abort"])
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_worker_that_starts_while_the_pool_is_stopped_prints_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "tensorflow", types.ModuleType("tensorflow"))  # so workers are not forked
    found = workers.map_files(wait_for, [(tmp_path / "second", ())] * 2, jobs=2, prepare=SlowStart(tmp_path))
    assert [done.result for done in found] == [None, None]
    assert capfd.readouterr() == ("", "")


def test_no_tasks_give_no_results():
    assert run(square, 0) == {}


def test_no_more_workers_are_started_than_requested_and_none_is_the_parent():
    for jobs in (1, 2):
        pids = set(run(pid, 8, jobs=jobs).values())
        assert 1 <= len(pids) <= jobs
        assert os.getpid() not in pids


def test_two_workers_run_at_the_same_time(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    assert run(meet, [(a, b), (b, a)], jobs=2) == {0: True, 1: True}


@pytest.mark.slow
def test_a_large_result_arrives_whole():
    for result in run(large, [3_000_000, 2_000_000]).values():
        assert isinstance(result, np.ndarray)
        np.testing.assert_array_equal(result, np.arange(len(result)))


LOOP = (
    "import os, signal, sys, time\n"
    "from pathlib import Path\n"
    "from audiocnn.audio import workers\n"
    "out = os.dup(1)\n"  # workers' own standard output goes nowhere
    "def loop(path):\n"
    "    os.write(out, b'%d\\n' % os.getpid())\n"
    "    while True: pass\n"
)


@linux
def test_workers_end_with_a_parent_that_is_killed_even_in_an_endless_loop():
    script = f"{LOOP}list(workers.map_files(loop, [(Path('x'), ())] * 2, jobs=2))\n"
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    pids = [int(parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert not _left_after_5_s(pids)


SUSPENDED = """
import sys, time
from pathlib import Path
from audiocnn.audio import workers
workers.TIME_LIMIT_S = 1.5
def work(path):
    Path("started").touch()
    for _ in range(30):  # 0.9 s, whatever time it is stopped
        time.sleep(0.03)
    return "done"
print([done.result for done in workers.map_files(work, [(Path("nowhere"), ())], jobs=1)])
"""


@pytest.mark.slow
@linux
def test_a_suspended_process_and_its_workers_go_on_without_a_timeout(tmp_path):
    command = [sys.executable, "-c", SUSPENDED]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True)
    while not (tmp_path / "started").exists():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.4)  # until the task has been checked
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(2)
    os.killpg(process.pid, signal.SIGCONT)
    assert process.communicate(timeout=60)[0] == "['done']\n"


@linux
def test_workers_whose_parent_is_killed_before_they_start_end_too():
    script = (
        f"{LOOP}prepare = workers.init_worker\n"
        "def late(*args):\n"
        "    os.write(out, b'%d\\n' % os.getpid())\n"
        "    while os.getppid() == parent: time.sleep(0.01)\n"
        "    prepare(*args)\n"
        "parent, workers.init_worker = os.getpid(), late\n"
        "list(workers.map_files(loop, [(Path('x'), ())] * 2, jobs=2))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    pids = [int(parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert not _left_after_5_s(pids)


def _left_after_5_s(pids: list[int]) -> list[int]:
    """Return the processes that still run after five seconds, and kill them."""
    deadline = time.monotonic() + 5
    while (left := [process for process in pids if _runs(process)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    for process in left:
        os.kill(process, signal.SIGKILL)
    return left


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# How far they are


@pytest.mark.slow
def test_a_task_reports_its_progress() -> None:
    seen: list[tuple[float, float]] = []
    tasks = [(Path("nowhere"), (20, 0.05))] * 3
    for done in workers.map_files(step, tasks, jobs=2, watch=lambda *told: seen.append(told)):
        assert done.result == 20
    assert len(seen) >= 3
    assert all(abs(decoded_s - 100 * share) < 5.1 for share, decoded_s in seen)  # a step of 5 may come between both
    assert max(share for share, _ in seen) > 0.3 and seen[-1] == (0, 0)


@pytest.mark.slow
@pytest.mark.usefixtures("short_limit")
@pytest.mark.parametrize(
    ("function", "args", "outcome"),
    [
        (step, (13, 0.1), 13),
        (step, (2, 60.0), "timeout"),
        (rest, (1.3,), "rested"),
        (rest_and_hang, (60.0,), "timeout"),
    ],
    ids=["makes progress", "stands still", "pauses the limit", "stands still after a pause"],
)
def test_only_a_task_without_progress_is_ended(function, args, outcome) -> None:
    (done,) = workers.map_files(function, [(Path("nowhere"), args)], jobs=1)
    assert (done.result.code if isinstance(done.result, AudioError) else done.result) == outcome
