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
    rows = [library.row() for library in _loaded()]
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


class Library:
    """A linear algebra library that is loaded: what it is, and what it can be asked."""

    def __init__(self, path: str) -> None:
        self.told: dict[str, Any] = {"config": None, "kernel": None}
        self.told["library"] = os.path.basename(path)
        self._threads: Any = None
        ctypes = sys.modules.get("ctypes")
        if ctypes is None or not hasattr(os, "RTLD_NOLOAD"):
            return
        try:
            library = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
        except OSError:
            return
        for key, name in (("kernel", "openblas_get_corename"), ("config", "openblas_get_config")):
            function = _symbol(library, name)
            if function is not None:
                function.restype = ctypes.c_char_p
                self.told[key] = (function() or b"").decode(errors="replace").strip()
        asked = ("openblas_get_num_threads", "MKL_Get_Max_Threads", "bli_thread_get_num_threads")
        functions = (_symbol(library, name) for name in asked)
        self._threads = next((each for each in functions if each is not None), None)

    def row(self) -> dict[str, Any]:
        """Its line of the report; how many threads it has now a program may have changed."""
        return {**self.told, "threads": None if self._threads is None else int(self._threads())}


# What the loader had added and removed when it was last asked, and the libraries that were found: a
# warm server asks before it forks, and its programs only if something was added since.
_found: list[tuple[tuple[int, int], list[Library]]] = []


def _loaded() -> list[Library]:
    """The linear algebra libraries that are loaded."""
    ctypes_users = ("numpy", "scipy", "torch", "sklearn")
    if not any(name in sys.modules for name in ctypes_users):
        return []
    counts, paths = _libraries(_found[0][0] if _found else None)
    if paths is None and counts is not None:
        return _found[0][1]
    named = [
        path
        for path in (_mapped() if paths is None else paths)
        for part in _BLAS
        if part in path[path.rfind("/") + 1 :]
    ]
    libraries = [Library(path) for path in sorted({os.path.realpath(path) for path in named})]
    if counts is not None:
        _found[:] = [(counts, libraries)]
    return libraries


def _libraries(
    known: tuple[int, int] | None = None,
) -> tuple[tuple[int, int] | None, list[str] | None]:
    """The libraries of this process as its loader lists them.

    dl_iterate_phdr(3). The kernel's list takes it 6 ms for a program that uses scikit-learn.

    Args:
        known: how many had been added and removed when the list was last read.

    Returns:
        How many there have been added and removed, None where the loader cannot be asked; and
        their paths, None in that case and where the counts are still those that are known.
    """
    ctypes = sys.modules.get("ctypes")
    paths: list[str] = []
    counts: list[tuple[int, int]] = []
    try:
        see, ask = _loader(ctypes)

        def each(library: Any, size: int, given: Any) -> int:
            del size, given
            if not counts:
                counts.append((library.contents.added, library.contents.removed))
                if counts[0] == known:
                    return 1
            paths.append(os.fsdecode(library.contents.name or b""))
            return 0

        ask(see(each), None)
    except (AttributeError, OSError, MemoryError, TypeError):
        return None, None
    if not counts or counts[0] == known:
        return (counts or [None])[0], None
    return counts[0], [path for path in paths if ".so" in path]


_asked: list[Any] = []  # what ctypes makes for it, once


def _loader(ctypes: Any) -> Any:
    """The type of dl_iterate_phdr's callback, and the function."""
    if not _asked:
        pointer, number = ctypes.c_void_p, ctypes.c_ulonglong
        fields = [("at", ctypes.c_size_t), ("name", ctypes.c_char_p), ("headers", pointer)]
        fields += [("count", ctypes.c_uint16), ("added", number), ("removed", number)]
        info = type("Info", (ctypes.Structure,), {"_fields_": fields})  # struct dl_phdr_info
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(info), ctypes.c_size_t, pointer)
        _asked[:] = [kind, ctypes.CDLL(None).dl_iterate_phdr]
    return _asked


def _mapped() -> list[str]:
    """The libraries of this process as the kernel maps them."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as stream:
            lines = [line.rstrip("\n") for line in stream if "/" in line]
    except OSError:
        return []
    paths = (line[line.find("/") :] for line in lines)
    return [path for path in paths if ".so" in path]


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
