"""Every process of a job is seeded, draws numbers of its own and writes its own line."""

from __future__ import annotations

import sys

import pytest

from tests.boot.jobs import Job

POOL = """
    import multiprocessing as mp, random, sys

    def draw(_):
        import numpy as np
        return random.random(), np.random.default_rng().random()

    def work(queue):
        queue.put((mp.current_process().name, draw(0)))

    if __name__ == "__main__":
        context = mp.get_context(sys.argv[1])
        queue = context.Queue()
        for number in range(2):
            process = context.Process(target=work, args=(queue,))
            process.start()
            print(*queue.get())
            process.join()
        print(draw(0))
"""


@pytest.mark.engine("numpy")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(job: Job, method: str) -> None:
    job.write("script.py", POOL)
    first, second = job.run("script.py", method), job.run("script.py", method)
    assert first.code == 0, first.err
    assert first.out == second.out
    draws = [line.partition("(")[2] for line in first.out.splitlines()]
    assert len(set(draws)) == 3
    assert len(first.children) == 2
    assert sorted(line["process"]["name"] for line in first.children) == [
        line.split()[0] for line in first.out.splitlines()[:2]
    ]
    assert [line["process"]["place"] for line in first.children] == ["1", "2"]
    assert [line["exit"]["code"] for line in first.children] == [0, 0]
    assert len({line["process"]["pid"] for line in first.lines}) == 3
    for line in first.children:
        (row,) = (each for each in line["generators"] if each["name"] == "random")
        assert row["used"] is True
        assert row["seeded_as"] == "random@" + line["process"]["place"]


@pytest.mark.engine("numpy")
def test_a_forked_process_keeps_the_state_it_inherits(job: Job) -> None:
    done = job.script(
        """
        import multiprocessing as mp
        import numpy as np

        def work(queue):
            queue.put(np.random.rand())

        context = mp.get_context("fork")
        queue = context.Queue()
        np.random.seed(1)
        process = context.Process(target=work, args=(queue,))
        process.start()
        assert queue.get() == np.random.rand() == np.random.RandomState(1).rand()
        process.join()
        """
    )
    assert done.code == 0, done.err


def test_a_seed_in_a_spawned_module_is_kept(job: Job) -> None:
    done = job.script(
        """
        import multiprocessing as mp, random
        random.seed(1)

        def work(queue):
            queue.put(random.random())

        if __name__ == "__main__":
            context = mp.get_context("spawn")
            queue = context.Queue()
            process = context.Process(target=work, args=(queue,))
            process.start()
            assert queue.get() == random.Random(1).random()
            process.join()
        """
    )
    assert done.code == 0, done.err


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_that_fails(job: Job, method: str) -> None:
    done = job.script(
        f"""
        import multiprocessing as mp, sys

        def fail():
            raise KeyError("x")

        def leave():
            sys.exit(3)

        if __name__ == "__main__":
            for target in (fail, leave):
                process = mp.get_context({method!r}).Process(target=target)
                process.start()
                process.join()
        """
    )
    assert done.code == 0
    assert [line["exit"] for line in done.children] == [
        {"code": 1, "exception": "KeyError"},
        {"code": 3, "exception": "SystemExit"},
    ]
    assert done.main["exit"] == {"code": 0, "exception": None}


def test_subprocess(job: Job) -> None:
    job.write("child.py", "import random\nprint(random.random())\n")
    done = job.script(
        """
        import os, subprocess, sys
        os.mkdir("elsewhere")  # the report's path is absolute by now
        subprocess.run([sys.executable, "../child.py"], cwd="elsewhere", check=True)
        subprocess.run([sys.executable, "child.py"], check=True, preexec_fn=lambda: None)
        """
    )
    assert done.code == 0, done.err
    assert len(set(done.out.split())) == 1
    assert len(done.lines) == 3
    assert [line["argv"] for line in done.children] == [["../child.py"], ["child.py"]]
    assert all(line["process"]["ppid"] == done.main["process"]["pid"] for line in done.children)


def test_fork_without_multiprocessing(job: Job) -> None:
    text = """
        import os, random
        print(random.random(), flush=True)
        for _ in range(2):
            pid = os.fork()
            if pid == 0:
                print(random.random(), flush=True)
                raise SystemExit(0)
            os.waitpid(pid, 0)
        print(random.random())
    """
    first, second = job.script(text), job.script(text)
    assert first.code == 0, first.err
    assert first.out == second.out
    assert len(set(first.out.split())) == 4
    assert [line["process"]["place"] for line in first.lines] == ["f1", "f2", ""]


@pytest.mark.engine("numpy")
def test_default_rng_differs_on_both_sides_of_a_fork(job: Job) -> None:
    text = """
        import os
        from numpy.random import default_rng
        default_rng()
        for _ in range(2):
            if os.fork() == 0:
                print(default_rng().random(), flush=True)
                os._exit(0)
            os.wait()
        print(default_rng().random())
    """
    first, second = job.script(text), job.script(text)
    assert first.code == 0, first.err
    assert first.out == second.out
    assert len(set(first.out.split())) == 3


@pytest.mark.engine("joblib")
def test_joblib(job: Job) -> None:
    done = job.script(
        """
        from joblib import Parallel, delayed
        import os, random

        def work(number):
            import time
            time.sleep(0.3)
            return os.getpid(), random.random()

        if __name__ == "__main__":
            print(Parallel(n_jobs=2)(delayed(work)(n) for n in range(4)))
        """
    )
    assert done.code == 0, done.err
    found = eval(done.out)
    assert len({draw for _, draw in found}) == 4
    names = {line["process"]["pid"]: line["process"]["name"] for line in done.children}
    assert set(names) == {pid for pid, _ in found}
    assert all("Loky" in str(name) for name in names.values())
    assert len(set(names.values())) == len(names)


def test_several_commands_are_each_a_main_process(job: Job) -> None:
    environ = job.environ()
    import subprocess

    command = f"{sys.executable} -c pass && {sys.executable} -c pass"
    subprocess.run(["bash", "-c", command], cwd=job.folder, env=environ, check=True)
    assert len(job.report.read_text().splitlines()) == 2
    assert '"role":"child"' not in job.report.read_text()
