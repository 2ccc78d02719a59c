"""The report says how each process ended and what it was made of, and never gets in the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.boot.jobs import Job, derive


def test_one_line_with_what_was_declared(job: Job) -> None:
    done = job.script("pass\n", replicate=3, threads=2)
    text = job.report.read_text(encoding="utf-8")
    (line,) = text.splitlines()
    assert line == json.dumps(json.loads(line), sort_keys=True, separators=(",", ":"))
    assert done.main["stream"] == "fit"
    assert done.main["replicate"] == 3
    assert done.main["seed"] == derive(20261123, "fit", 3, "seed")
    assert done.main["seeding"] == "full"
    assert done.main["threads"]["declared"] == 2
    assert done.main["threads"]["affinity"] >= 1
    assert done.main["argv"] == ["script.py"]
    assert done.main["python"]["executable"] == sys.executable
    assert done.main["memory"]["self"] > 2**20
    assert done.main["generators"] == []
    assert done.main["problems"] == []


@pytest.mark.parametrize(
    ("text", "code", "ending"),
    [
        ("pass", 0, {"code": 0, "exception": None}),
        ("1 / 0", 1, {"code": 1, "exception": "ZeroDivisionError"}),
        ("import sys; sys.exit(3)", 3, {"code": 3, "exception": "SystemExit"}),
        ("import sys; sys.exit()", 0, {"code": 0, "exception": "SystemExit"}),
        ("import sys; sys.exit('no')", 1, {"code": 1, "exception": "SystemExit"}),
        ("raise SystemExit(3)", 3, {"code": None, "exception": "SystemExit"}),
        (
            "import sys\ntry: sys.exit(3)\nexcept SystemExit: pass",
            0,
            {"code": 0, "exception": None},
        ),
        (
            (
                "import threading, sys\nt = threading.Thread(target=sys.exit, args=(3,))\n"
                "t.start(); t.join()"
            ),
            0,
            {"code": 0, "exception": None},
        ),
    ],
)
def test_how_it_ended(job: Job, text: str, code: int, ending: dict[str, object]) -> None:
    done = job.script(text + "\n")
    assert done.code == code
    assert done.main["exit"] == ending


def test_what_cannot_be_known_is_not_said(job: Job) -> None:
    thread = "import sys, threading; threading.Thread(target=sys.exit, args=(3,)).start()"
    assert job.run("-c", thread).main["exit"] == {"code": None, "exception": None}
    assert job.run("-c", "import sys; sys.exit(3)").main["exit"]["code"] == 3
    assert job.run("-c", "1 / 0").main["exit"] == {"code": 1, "exception": "ZeroDivisionError"}


def test_a_failing_script_shows_its_own_traceback_only(job: Job) -> None:
    job.write("script.py", "1 / 0\n")
    plain = job.run("script.py", environ={**os.environ, "PYTHONPATH": ""})
    booted = job.run("script.py")
    assert booted.err == plain.err


def test_exit_handlers_run_before_the_report(job: Job) -> None:
    done = job.script("import atexit, random\natexit.register(random.random)\n")
    assert done.generator("random")["used"] is True


def test_an_environment_in_the_project_is_no_part_of_it(job: Job) -> None:
    venv = job.folder / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    job.write("env/share/held.py", "")
    job.write("script.py", "import sys\nsys.path.append('env/share')\nimport held\n")
    done = job.run("script.py", python=str(venv / "bin" / "python"))
    assert done.main["project"] == ["script.py"]
    assert "held" in done.main["elsewhere"]


@pytest.mark.engine("sklearn")
@pytest.mark.engine("numpy")
def test_distributions_and_kernels(job: Job) -> None:
    done = job.script("import sklearn\n")
    from importlib.metadata import version

    assert done.main["distributions"]["numpy"] == version("numpy")
    assert done.main["distributions"]["scikit-learn"] == version("scikit-learn")
    assert done.main["elsewhere"] == {}
    assert done.main["numpy_features"]


@pytest.mark.engine("numpy")
def test_blas_with_kernel_and_threads(job: Job) -> None:
    job.write("script.py", "import numpy\n")
    environ = {**job.environ(), "OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "1"}
    done = job.run("script.py", environ=environ)
    libraries = [row for row in done.main["blas"] if "openblas" in row["library"]]
    if not libraries:
        pytest.skip("this NumPy has another BLAS")
    assert {(row["kernel"], row["threads"]) for row in libraries} == {("Haswell", 1)}


def test_project_modules(job: Job) -> None:
    job.write("helpers/__init__.py", "")
    job.write("helpers/deep.py", "import late")
    job.write("lib/late.py", "")
    job.write(".venv/lib/site-packages/inner.py", "")
    job.write("unused.py", "")
    done = job.script(
        """
        import importlib, json, sys
        sys.path += ["lib", ".venv/lib/site-packages"]
        import inner
        importlib.import_module("helpers.deep")
        """
    )
    assert done.code == 0, done.err
    expected = ["helpers/__init__.py", "helpers/deep.py", "lib/late.py", "script.py"]
    assert done.main["project"] == expected
    assert set(done.main["elsewhere"]) == {"inner"}


def test_distribution_by_its_file_list(job: Job) -> None:
    packages = "../env/site-packages"
    job.write(f"{packages}/yamlish/__init__.py", "import space.one, single")
    job.write(f"{packages}/single.py", "")
    job.write(f"{packages}/space/one/__init__.py", "")
    job.write(f"{packages}/stray.py", "")
    record = "yamlish/__init__.py,,\nsingle.py,,\n"
    job.write(f"{packages}/Py_Yaml.Ish-1.2+cpu.dist-info/RECORD", record)
    job.write(f"{packages}/space_one_things-3.dist-info/RECORD", "space/one/__init__.py,,\n")
    job.write(f"{packages}/space_two-4.dist-info/RECORD", "space/two/__init__.py,,\n")
    job.write(f"{packages}/old-5-py3.8.egg-info/top_level.txt", "other\n")
    folder = os.path.realpath(job.folder / packages)
    done = job.script(f"import sys\nsys.path.append({folder!r})\nimport yamlish, stray\n")
    assert done.code == 0, done.err
    found = done.main["distributions"]
    assert found["py-yaml-ish"] == "1.2+cpu"
    assert found["space-one-things"] == "3"
    assert not {"space-two", "old"} & set(found)
    assert set(done.main["elsewhere"]) == {"stray"}


@pytest.mark.parametrize("code", [0, 3])
def test_an_unwritable_report_is_one_sentence(job: Job, code: int) -> None:
    job.write("file", "")
    done = job.script(f"import sys\nsys.exit({code})\n", report="file/boot.jsonl")
    assert done.code == code
    assert done.err.startswith("ml-experiment: the boot report ")
    assert len(done.err.splitlines()) == 1


def test_no_report_is_asked_for(job: Job) -> None:
    done = job.script("import random\nprint(random.random())\n", report=None)
    assert (done.code, done.err, done.lines) == (0, "", [])


def test_the_programs_modules_do_not_confuse_the_report(job: Job) -> None:
    for name in ("resource", "platform", "report", "imports", "machine", "settings"):
        job.write(f"{name}.py", "print(__name__)\n")
    done = job.script("pass\n")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert done.main["memory"]["self"] > 2**20
    done = job.script("import resource, report, settings\n")
    assert done.out.split() == ["resource", "report", "settings"]
    assert done.main["memory"] == {"children": None, "self": None}


def test_the_seed_is_the_one_that_the_job_got(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_EXPERIMENT_SEED", "12")  # listed by the user, not derived
    assert job.script("pass\n").main["seed"] == 12
