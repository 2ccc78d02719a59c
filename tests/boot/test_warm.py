"""Which native threads a warm server may have when it forks."""

from __future__ import annotations

import importlib.util

import pytest

from tests.boot.jobs import BOOT

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
