"""What the program ran on: kernels of its BLAS, threads, memory, GPUs, platform.

Only what is loaded already is asked, so that nothing here changes what the program did: no
library is loaded and no GPU is initialised.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BLAS = ("openblas", "mkl_rt", "blis", "flexiblas", "libblas", "atlas")
_FOLDERS = [entry for entry in sys.path if entry.endswith("lib-dynload")]


def threads(declared: int | None) -> dict[str, Any]:
    """As many as were declared, as may be used, and as there are."""
    allowed = getattr(os, "sched_getaffinity", None)
    return {
        "affinity": len(allowed(0)) if allowed else None,
        "cpus": os.cpu_count(),
        "declared": declared,
    }


def memory() -> dict[str, int | None]:
    """Peak memory in bytes, of this process and of the largest child that it waited for."""
    resource = _resource()
    if resource is None:
        return {"children": None, "self": None}
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    # A process inherits ru_maxrss from the one that started it; the kernel's other mark is its own.
    for line in _head("/proc/self/status").splitlines():
        if line.startswith("VmHWM:"):
            peak = int(line.split()[1]) * 1024
    return {"children": children, "self": peak}


def platform() -> dict[str, str | None]:
    """The operating system, its C library and the processor."""
    system = os.uname() if hasattr(os, "uname") else None
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, OSError, ValueError):
        libc = None
    cpu = None
    for line in _head("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    return {
        "cpu": cpu,
        "host": system.nodename if system else None,
        "libc": libc,
        "machine": system.machine if system else None,
        "release": system.release if system else None,
        "system": system.sysname if system else sys.platform,
    }


def numpy_features() -> list[str] | None:
    """The CPU features that NumPy found and may use, None without NumPy."""
    for name in ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath"):
        module = sys.modules.get(name)
        features = getattr(module, "__cpu_features__", None)
        if features is not None:
            return sorted(key for key, present in features.items() if present)
    return None


def blas() -> list[dict[str, Any]]:
    """The linear algebra libraries that are loaded, with CPU kernel and thread count."""
    rows = [_described(path) for path in _loaded()]
    torch = sys.modules.get("torch")
    if torch is not None:  # its library is linked into it
        backend = getattr(getattr(torch, "backends", None), "cpu", None)
        kernel = backend.get_cpu_capability() if backend else None
        rows.append(
            {
                "config": None,
                "kernel": kernel,
                "library": "torch",
                "threads": torch.get_num_threads(),
            }
        )
    return rows


def gpus() -> list[dict[str, Any]]:
    """The GPUs that a library of the program has initialised."""
    return _gpus_of_torch() + _gpus_of_jax() + _gpus_of_tensorflow()


def _loaded() -> list[str]:
    """The files of the linear algebra libraries that are loaded."""
    ctypes_users = ("numpy", "scipy", "torch", "sklearn")
    if not any(name in sys.modules for name in ctypes_users):
        return []
    paths = _libraries()
    if paths is None:
        paths = _mapped()
    named = [path for path in paths for part in _BLAS if part in path[path.rfind("/") + 1 :]]
    return sorted({os.path.realpath(path) for path in named})


def _libraries() -> list[str] | None:
    """The libraries of this process as its loader lists them, None where it cannot be asked.

    dl_iterate_phdr(3). The kernel's list takes it 6 ms for a program that uses scikit-learn.
    """
    ctypes = sys.modules.get("ctypes")
    paths: list[str] = []
    try:
        pointer, name, address = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t  # type: ignore[union-attr]
        # Of `struct dl_phdr_info` the first two: where a library is, and its path.
        info = type("Info", (ctypes.Structure,), {"_fields_": [("at", address), ("name", name)]})  # type: ignore[union-attr]
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(info), address, pointer)  # type: ignore[union-attr]

        def see(library: Any, size: int, given: Any) -> int:
            del size, given
            paths.append(os.fsdecode(library.contents.name or b""))
            return 0

        ctypes.CDLL(None).dl_iterate_phdr(kind(see), None)  # type: ignore[union-attr]
    except (AttributeError, OSError, MemoryError, TypeError):
        return None
    return [path for path in paths if ".so" in path]


def _mapped() -> list[str]:
    """The libraries of this process as the kernel maps them."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as stream:
            lines = [line.rstrip("\n") for line in stream if "/" in line]
    except OSError:
        return []
    paths = (line[line.find("/") :] for line in lines)
    return [path for path in paths if ".so" in path]


def _described(path: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "config": None,
        "kernel": None,
        "library": os.path.basename(path),
        "threads": None,
    }
    ctypes = sys.modules.get("ctypes")
    if ctypes is None or not hasattr(os, "RTLD_NOLOAD"):
        return row
    try:
        library = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
    except OSError:
        return row
    for key, name in (
        ("kernel", "openblas_get_corename"),
        ("config", "openblas_get_config"),
        ("threads", "openblas_get_num_threads"),
    ):
        function = _symbol(library, name)
        if function is not None:
            function.restype = ctypes.c_int if key == "threads" else ctypes.c_char_p
            value = function()
            row[key] = value.decode(errors="replace").strip() if isinstance(value, bytes) else value
    for name in ("MKL_Get_Max_Threads", "bli_thread_get_num_threads"):
        function = _symbol(library, name)
        if row["threads"] is None and function is not None:
            row["threads"] = int(function())
    return row


def _symbol(library: Any, name: str) -> Any:
    for prefix in ("", "scipy_"):
        for suffix in ("", "64_", "_64"):
            function = getattr(library, prefix + name + suffix, None)
            if function is not None:
                return function
    return None


def _gpus_of_torch() -> list[dict[str, Any]]:
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return []
    return [
        {
            "device": number,
            "library": "torch",
            "memory": cuda.max_memory_allocated(number),
            "name": cuda.get_device_name(number),
            "version": torch.version.cuda or torch.version.hip,  # type: ignore[union-attr]
        }
        for number in range(cuda.device_count())
    ]


def _gpus_of_jax() -> list[dict[str, Any]]:
    bridge = sys.modules.get("jax._src.xla_bridge")
    backends = getattr(bridge, "_backends", None) or {}
    return [
        {
            "device": device.id,
            "library": "jax",
            "memory": None,
            "name": device.device_kind,
            "version": backend.platform_version,
        }
        for name, backend in sorted(backends.items())
        if name != "cpu"
        for device in backend.local_devices()
    ]


def _gpus_of_tensorflow() -> list[dict[str, Any]]:
    module = sys.modules.get("tensorflow.python.eager.context")
    context = getattr(module, "_context", None)
    if context is None or not getattr(context, "_initialized", False):
        return []
    return [
        {
            "device": number,
            "library": "tensorflow",
            "memory": None,
            "name": context.get_device_details(device).get("device_name"),
            "version": None,
        }
        for number, device in enumerate(context.list_physical_devices("GPU"))
    ]


def _resource() -> Any:
    """The standard library's `resource`, and never a module of the program's of that name."""
    module = sys.modules.get("resource")
    if module is None:
        path, sys.path = sys.path, _FOLDERS
        try:
            import resource as module
        except ImportError:
            return None
        finally:
            sys.path = path
    return module if hasattr(module, "getrusage") else None


def _head(path: str, size: int = 4096) -> str:
    # One read: the whole of /proc/cpuinfo takes the kernel long where there are many processors.
    try:
        with open(path, "rb", buffering=0) as stream:
            return (stream.read(size) or b"").decode(errors="replace")
    except OSError:
        return ""
