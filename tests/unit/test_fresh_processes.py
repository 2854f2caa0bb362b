# SPDX-License-Identifier: Apache-2.0
"""Tasks in processes of their own: what dies, what raises, what is sent, and who ends."""

import os
import signal
import subprocess
import sys
import time
import types

import psutil
import pytest

from tfprune.evaluation import processes
from tfprune.evaluation.processes import ProcessDied, Processes, dumps


def _print_and_die(number):
    print("the last words", flush=True)
    os.kill(os.getpid(), number)


class Unreadable(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} {second}")


def _raise_unreadable():
    raise Unreadable("two", "parts")


def test_what_becomes_of_a_task_is_its_own_futures_affair():
    data = b"x" * (1 << 20)
    with Processes(2) as executor:
        killed = executor.submit(_print_and_die, signal.SIGKILL)
        aborted = executor.submit(_print_and_die, signal.SIGABRT)
        left = executor.submit(os._exit, 7)
        exited = executor.submit(sys.exit, 3)
        raised = executor.submit(divmod, 1, 0)
        unreadable = executor.submit(_raise_unreadable)
        printed = executor.submit(print, "no answer")
        large = executor.submit(bytes.upper, data)
        unsendable = executor.submit(len, (one for one in ()))
    with pytest.raises(ProcessDied, match="(?s)SIGKILL, as by a lack of memory.*the last words"):
        killed.result()
    with pytest.raises(ProcessDied, match="(?s)SIGABRT; .*the last words"):
        aborted.result()
    with pytest.raises(ProcessDied, match="exit code 7 and without a result"):
        left.result()
    with pytest.raises(SystemExit):
        exited.result()
    with pytest.raises(ZeroDivisionError):
        raised.result()
    with pytest.raises(RuntimeError, match="Unreadable: two parts"):
        unreadable.result()
    with pytest.raises(TypeError, match="cannot be sent to another process"):
        unsendable.result()
    assert printed.result() is None
    assert large.result() == data.upper()


def test_kill_ends_what_runs_and_begins_nothing_more():
    executor = Processes(1)
    running, waiting = executor.submit(time.sleep, 60), executor.submit(divmod, 7, 2)
    while not executor._running:
        time.sleep(0.01)
    begin = time.perf_counter()
    executor.kill()
    assert time.perf_counter() - begin < 10
    with pytest.raises(ProcessDied):
        running.result()
    assert waiting.cancelled()


_SCRIPT = """
import os, sys, time
from tfprune.evaluation.processes import Processes
offset = 40
def task(value):
    return value + offset
if len(sys.argv) == 1:
    print(Processes(1).submit(task, 2).result())
else:
    executor = Processes(1)
    future = executor.submit(time.sleep, 600)
    while not executor._running: time.sleep(0.01)
    print([one.pid for one in executor._running][0], flush=True)
    future.result()
"""


def _script(tmp_path, *arguments):
    path = tmp_path / "script.py"
    path.write_text(_SCRIPT)
    return subprocess.Popen([sys.executable, path, *arguments], stdout=subprocess.PIPE, text=True)


def test_functions_of_a_script_without_a_guard_are_sent_by_value(tmp_path):
    with _script(tmp_path) as script:
        assert script.stdout.read() == "42\n"


def test_processes_end_with_the_one_that_started_them(tmp_path):
    with _script(tmp_path, "wait") as script:
        child = psutil.Process(int(script.stdout.readline()))
        script.kill()
    child.wait(10)


def test_without_cloudpickle_functions_that_have_no_address_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    assert dumps(divmod)
    with pytest.raises(TypeError, match=r'need cloudpickle: pip install "tfprune\[evaluation\]"'):
        dumps(lambda: 0)
    monkeypatch.setattr(_print_and_die, "__module__", "__main__")
    with pytest.raises(TypeError, match="of the running script"):
        dumps(_print_and_die)


def test_tasks_begin_where_there_is_memory_for_them():
    free, held = 4 << 30, {1: 0, 2: 1 << 30}
    system = types.SimpleNamespace(
        Error=psutil.Error,
        virtual_memory=lambda: types.SimpleNamespace(available=free),
        Process=lambda pid: types.SimpleNamespace(
            memory_info=lambda: types.SimpleNamespace(rss=held[pid])
        ),
    )
    memory = processes._Memory(system)
    assert memory.fits()
    with memory.room() as first:
        first.pid = 1
        assert memory.fits()  # two of 2 GiB
        with memory.room() as second:
            second.pid = 2
            assert not memory.fits()  # the first will grow by 2, the second by 1
            held[2] = 3 << 30
            while second.peak < 3 << 30:
                time.sleep(0.01)
        held[1] = 3 << 30
        assert memory.largest == 3 << 30 and not memory.fits()  # 3.6 GiB and 0.6 GiB
        free = 5 << 30
        assert memory.fits()
    free = 0
    assert memory.fits()  # one always does
