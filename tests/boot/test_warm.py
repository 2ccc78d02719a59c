"""What a warm server may fork, and what its programs need not look at again."""

from __future__ import annotations

import importlib.util
import json

import pytest

from tests.boot.jobs import BOOT, Job

PTHREADS = "OpenBLAS 0.3.31.188.0  USE64BITINT DYNAMIC_ARCH NO_AFFINITY Haswell MAX_THREADS=64"
OPENMP = "OpenBLAS 0.3.30 DYNAMIC_ARCH NO_AFFINITY USE_OPENMP Haswell MAX_THREADS=128"


@pytest.mark.parametrize(
    ("library", "config", "survives"),
    [
        ("libscipy_openblas64_-32a4b2a6.so", PTHREADS, True),
        ("libopenblasp-r0.3.30.so", OPENMP, False),  # its threads are libgomp's
        ("libopenblas.so.0", None, False),  # it cannot be asked
        ("libmkl_rt.so.2", None, False),
        ("torch", None, False),
    ],
)
def test_only_openblas_with_threads_of_its_own_survives_a_fork(
    monkeypatch: pytest.MonkeyPatch, library: str, config: str | None, survives: bool
) -> None:
    monkeypatch.syspath_prepend(str(BOOT))
    spec = importlib.util.spec_from_file_location("warm", BOOT / "warm.py")
    assert spec is not None
    assert spec.loader is not None
    warm = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(warm)
    row = {"config": config, "kernel": None, "library": library, "threads": 4}
    assert warm._survives(row) is survives


PROGRAM = """\
import json, os, sys
from _ml_experiment_boot import imports, machine
import numpy
here = os.getcwd()
found = machine._loaded()
assert found and machine._loaded() is found
first = imports.imported(here)
mark = imports.mark()
import late
assert imports.added(mark) == ["late"]
second = imports.imported(here)
sys.modules["gone"] = sys.modules.pop("late")
assert imports.added(mark) == ["gone"]
del sys.modules["gone"]
del sys.modules["numpy"]
assert imports.added(mark) is None
print(json.dumps([first, second, imports.imported(here)]))
counts, libraries = machine._libraries()
assert machine._libraries(counts) == (counts, None)
assert libraries is not None
assert {os.path.realpath(each) for each in libraries if "/" in each} >= set(machine._mapped())
import _testcapi  # whatever is in no list yet
assert machine._libraries(counts)[0] != counts
"""


@pytest.mark.engine("numpy")
def test_a_server_looks_at_modules_once_and_its_programs_at_the_rest(job: Job) -> None:
    job.write("late.py", "")
    done = job.script(PROGRAM)
    assert done.code == 0, done.err
    first, second, third = json.loads(done.out)
    assert "numpy" in first["distributions"]
    assert second == {**first, "project": ["late.py", "script.py"]}
    assert third == first


LASTING = """\
import json, os, this, wave
from _ml_experiment_boot import imports
import beside
with open("wave.py", "w"):
    pass  # what a later program may mean
found = imports.lasting(os.getcwd())
assert {"json", "json.decoder"} <= set(found), found
assert not {"__main__", "_ml_experiment_boot.imports", "beside", "sys", "this", "wave"} & set(found)
"""


def test_what_a_server_imports_is_nothing_of_the_project_and_does_not_speak(job: Job) -> None:
    job.write("beside.py", "")
    done = job.script(LASTING)
    assert done.code == 0, done.err
