"""The kernels that a process computes with, so that x86 machines get the same numbers."""

from __future__ import annotations


def pinned() -> dict[str, str]:
    """Variables under which x86 machines differ as little as can be, for a process to start with.

    The same ask gives other numbers under another BLAS kernel, other SIMD extensions of NumPy, or
    other threads.
    """
    import numpy as np  # noqa: PLC0415  # Snakemake's process does without

    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {
        **one,
        "ATEN_CPU_CAPABILITY": "default",
        "NPY_DISABLE_CPU_FEATURES": " ".join(found),
        "OPENBLAS_CORETYPE": "Haswell",
    }
