"""The boot folder makes way for what was there before it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.boot.jobs import BOOT, Job, interpreters


def test_nothing_happens_without_the_variable(job: Job) -> None:
    environ = job.environ()
    del environ["ML_EXPERIMENT_BOOT"]
    text = "import sys\nassert not [n for n in sys.modules if 'ml_experiment' in n]\n"
    job.write("script.py", text + f"assert {str(BOOT)!r} not in sys.path\n")
    done = job.run("script.py", environ=environ)
    assert (done.code, done.err, done.lines) == (0, "", [])


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("{", "it is not JSON"),
        ("[]", "it is not a JSON object"),
        ("{}", "the key 'root' is missing"),
    ],
)
def test_a_broken_variable_runs_nothing(job: Job, raw: str, reason: str) -> None:
    done = job.script("print('ran')\n", raw=raw)
    assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 1)
    assert done.err.startswith("ml-experiment: ML_EXPERIMENT_BOOT cannot be used")
    assert reason in done.err


@pytest.mark.parametrize(
    "wrong",
    [
        {"root": "7"},
        {"root": True},
        {"root": None},
        {"seeding": "some"},
        {"replicate": 0.5},
        {"stream": 1},
        {"report": 1},
        {"threads": "two"},
    ],
)
def test_a_wrong_value_is_named(job: Job, wrong: dict[str, object]) -> None:
    done = job.script("print('ran')\n", **wrong)
    assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 1)
    assert repr(next(iter(wrong))) in done.err


def test_the_next_sitecustomize_runs(job: Job) -> None:
    job.write("site/sitecustomize.py", "import random, sys\nsys.mine = random.random()\n")
    job.write("site/usercustomize.py", "import sys\nsys.yours = True\n")
    text = "import sys, sitecustomize\nprint(sys.mine, sitecustomize.__file__)\n"
    site = str(job.folder / "site")
    first, second = job.script(text, path=site), job.script(text, path=site)
    assert first.code == 0, first.err
    assert first.out == second.out  # it is seeded, too
    assert first.out.split()[1] == os.path.join(site, "sitecustomize.py")


@pytest.mark.parametrize("text", ["1 / 0", "import nothing_here", "raise ImportError('x')"])
def test_errors_of_the_next_one_are_as_python_shows_them(job: Job, text: str) -> None:
    job.write("site/sitecustomize.py", text + "\n")
    job.write("script.py", "print('ran')\n")
    site = str(job.folder / "site")
    plain = job.run("script.py", environ={**job.environ(), "PYTHONPATH": site})
    booted = job.run("script.py", path=site)
    assert (booted.out, booted.err, booted.code) == (plain.out, plain.err, plain.code)
    assert "Error in sitecustomize" in booted.err
    assert len(booted.lines) == 1


def test_two_boot_folders_are_one(job: Job, tmp_path: Path) -> None:
    other = tmp_path / "boot"
    shutil.copytree(BOOT, other)
    done = job.script("import sys\nprint([p for p in sys.path if 'boot' in p])\n", path=str(other))
    assert (done.code, done.err, len(done.lines)) == (0, "", 1)


def test_virtual_environment(job: Job, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "sitecustomize.py").write_text("import sys\nsys.mine = True\n")
    job.write("script.py", "import random, sys\nprint(hasattr(sys, 'mine'), random.random())\n")
    python = str(venv / "bin" / "python")
    plain, booted = (
        job.run("script.py", python=python, environ={}),
        job.run("script.py", python=python),
    )
    assert booted.code == 0, booted.err
    # Debian's Python has one of its own, which comes before that of any environment.
    assert booted.out.split()[0] == plain.out.split()[0]
    assert (
        booted.out.split()[1] == job.script("import random\nprint(random.random())\n").out.strip()
    )


def test_it_hides_no_module_of_the_program(job: Job) -> None:
    job.write("lib/call.py", "mine = True\n")
    job.write("lib/_x.py", "mine = True\n")
    job.write("lib/ml_experiment/__init__.py", "mine = True\n")
    done = job.script(
        f"""
        import sys
        assert {str(BOOT)!r} not in sys.path
        import call, _x, ml_experiment
        assert call.mine and _x.mine and ml_experiment.mine
        """,
        path=str(job.folder / "lib"),
    )
    assert done.code == 0, done.err


@pytest.mark.parametrize("python", interpreters())
def test_every_python(job: Job, python: str) -> None:
    """Standard library only: seeds, children, exits, calls."""
    job.write("fit.py", "def fit(C, /, *, x):\n    return {'a': C + len(x)}\n")
    job.write(
        "script.py",
        """
        import multiprocessing as mp, random, sys

        def work(queue):
            queue.put(random.random())

        if __name__ == "__main__":
            print(random.random())
            context = mp.get_context("spawn")
            queue = context.Queue()
            process = context.Process(target=work, args=(queue,))
            process.start()
            print(queue.get())
            process.join()
            sys.exit(3)
        """,
    )
    done = job.run("script.py", python=python)
    assert (done.code, done.err) == (3, "")
    assert done.main["exit"] == {"code": 3, "exception": "SystemExit"}
    (child,) = done.children
    assert child["process"]["place"] == "1"
    reference = job.run("script.py")
    assert done.out == reference.out  # Python's own generator is the same in all versions
    job.write("plain.py", "raise SystemExit(4)\n")
    assert job.run("plain.py", python=python).main["exit"]["exception"] == "SystemExit"
    job.write("plain.py", "pass\n")
    assert job.run("plain.py", python=python).main["exit"] == {"code": 0, "exception": None}
    call = [str(BOOT / "call.py"), "fit:fit", '{"params":{"C":1,"x":"ab"},"metrics":"m.json"}']
    assert job.run(*call, python=python).err == ""
    assert (job.folder / "m.json").read_text() == '{\n  "a": 3\n}\n'


@pytest.mark.engine("vermin")
def test_python_3_8_is_enough() -> None:
    command = [sys.executable, "-c", "import vermin; vermin.main()"]
    command += ["--target=3.8-", "--violations", "--no-tips", str(BOOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
