"""What libraries do in a process that was forked: as in one of its own, or they are not forked."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.e2e.project import Make, Project

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")

STEP = """\
  {name}:
    run: python {name}.py {{outputs.o}}
    outputs: {{o: o.txt}}
    threads: 2
    replicates: 2
"""
# Where it runs is printed, and so in the log; what it computes is in the output.
PROGRAM = """\
import os, sys, hashlib
{imports}
if __name__ == "__main__":
    print("warm" if os.getpgrp() == os.getpid() else "cold")
{body}
    open(sys.argv[1], "w").write(hashlib.md5(result).hexdigest() + "\\n")
"""
MATMUL = PROGRAM.format(
    imports="import numpy",
    body="""\
    from numpy.linalg import svd
    one = numpy.random.rand(700, 700)
    result = (one @ one).tobytes() + svd(one[:200, :200])[1].tobytes()
""",
)
BOOST = """\
    x = numpy.random.rand(4000, 8)
    y = x @ numpy.arange(8) + numpy.random.rand(4000)
    model = HistGradientBoostingRegressor(max_iter=10, random_state=0).fit(x, y)
    result = model.predict(x).tobytes()
"""
TREES = PROGRAM.format(
    imports="import numpy\nfrom sklearn.ensemble import HistGradientBoostingRegressor", body=BOOST
)
EAGER = TREES.replace("import numpy\n", "import numpy, fitted\n", 1)
# An installed module that has used OpenMP when it has been imported.
USES_OPENMP = """\
import numpy
from sklearn.ensemble import HistGradientBoostingRegressor
state = numpy.random.RandomState(0)
HistGradientBoostingRegressor(max_iter=2, random_state=0).fit(state.rand(4000, 8), state.rand(4000))
"""
THREAD = PROGRAM.format(imports="import beating", body="    result = beating.beats()\n")
BEATS = """\
import threading
event = threading.Event()
threading.Thread(target=event.wait, name="heart", daemon=True).start()
def beats():
    assert threading.active_count() == 2
    return b"yes"
"""
NATIVE = PROGRAM.format(imports="import paused", body="    result = b'yes'\n")
STARTS_NATIVE = """\
import ctypes
at, libc = ctypes.c_ulong(), ctypes.CDLL(None)
libc.pthread_create(ctypes.byref(at), None, ctypes.cast(libc.pause, ctypes.c_void_p), None)
"""
TORCH = PROGRAM.format(
    imports="import torch",
    body="""\
    model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 1))
    x = torch.rand(4096, 64)
    rate = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        loss = ((model(x) - x.sum(1, keepdim=True)) ** 2).mean()
        rate.zero_grad(); loss.backward(); rate.step()
    result = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
    result += (x.T @ x).numpy().tobytes()
    assert torch.get_num_threads() == 2
""",
)


def run(make: Make, tmp_path: Path, **programs: str) -> tuple[Project, str]:
    """Every program under `-e forkserver`, with the same outputs as without; what it has told."""
    installed = tmp_path / "site-packages"
    installed.mkdir()
    modules = {"fitted": USES_OPENMP, "beating": BEATS, "paused": STARTS_NATIVE}
    for name, text in modules.items():
        (installed / f"{name}.py").write_text(text)
    steps = "".join(STEP.format(name=name) for name in programs)
    files = {f"{name}_py": text for name, text in programs.items()}
    project = make(f"name: libraries\nseed: 5\nsteps:\n{steps}", **files)
    cold = project.copy(tmp_path / "cold")
    given = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(installed), os.environ.get("PYTHONPATH")]))
    }
    words = ("snakemake", "--cores", "2", "--verbose", "-e")
    done = cold.call(*words, "local", **given)
    assert done.returncode == 0, done.stderr
    done = project.call(*words, "forkserver", **given)
    assert done.returncode == 0, done.stderr
    assert project.files() == cold.files()
    return project, done.stderr


def places(project: Project, step: str) -> list[str]:
    """Where the two jobs of a step have run; the first of the two shows what it imports."""
    return sorted(file.read_text().split()[0] for file in project.folder.glob(f"logs/{step}/*.log"))


@pytest.mark.engine("numpy", "sklearn")
def test_a_pool_of_blas_and_openmp_after_the_fork_work_as_ever(make: Make, tmp_path: Path) -> None:
    """OpenMP of GNU does not survive a fork, but here it begins after it."""
    project, _ = run(make, tmp_path, matmul=MATMUL, trees=TREES)
    assert places(project, "matmul") == places(project, "trees") == ["cold", "warm"]


@pytest.mark.engine("numpy", "sklearn")
def test_a_server_with_threads_that_a_fork_would_lose_forks_nothing(
    make: Make, tmp_path: Path
) -> None:
    project, told = run(make, tmp_path, eager=EAGER, thread=THREAD, native=NATIVE)
    for step in ("eager", "thread", "native"):
        assert places(project, step) == ["cold", "cold"]
    reasons = [line for line in told.splitlines() if line.startswith("forkserver: started cold")]
    assert [
        each.partition("because an import starts ")[2].partition(" (")[0] for each in reasons
    ] == [
        "native threads",  # of OpenMP, beside those of BLAS
        "native threads",
        "threads",
    ]
    assert reasons[2].endswith("(heart)")


@pytest.mark.engine("torch")
def test_pytorch_computes_the_same(make: Make, tmp_path: Path) -> None:
    project, told = run(make, tmp_path, torched=TORCH)
    assert places(project, "torched") == ["cold", "warm"], told
