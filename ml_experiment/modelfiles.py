"""What a model's file is, from its bytes: format, framework, tensors. Nothing is loaded or executed."""

from __future__ import annotations

import ast
import bz2
import io
import json
import lzma
import os
import posixpath
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, Any

from ml_experiment import pickles
from ml_experiment.hashing import of_text, regular_files

HEADER = 100_000_000  # bytes that the header of a safetensors file may have
JSON = 50_000_000  # bytes of a JSON file that is read whole
READ = 64_000_000  # bytes of a pickle inside something compressed

# The first part of a module -> the distribution whose version matters. The first that is there counts.
FRAMEWORKS = {
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "catboost": "catboost",
    "keras": "keras",
    "tensorflow": "tensorflow",
    "transformers": "transformers",
    "torch": "torch",
    "sklearn": "scikit-learn",
    "statsmodels": "statsmodels",
    "scipy": "scipy",
    "numpy": "numpy",
}
_MAGIC: tuple[tuple[bytes, str, str | None], ...] = (
    (b"GGUF", "GGUF", None),
    (b"\x89HDF\r\n\x1a\n", "HDF5", None),
    (b"CBM1", "CatBoost", "catboost"),
    (b"tree\nversion=", "LightGBM text", "lightgbm"),
    (b"RDX", "R data", None),
)


@dataclass(frozen=True)
class Described:
    """A model's file.

    Attributes:
        format: such as `joblib`, `PyTorch`, `safetensors`.
        framework: the distribution that reads it, where that is known.
        classes: what its pickle would import, `module name`.
        whole: whether all of its pickle was read.
        suspicious: what in its pickle runs code and is no part of a model.
        parts: tensor or member -> its type, shape and digest, where that is known without loading.
    """

    format: str
    framework: str | None = None
    classes: tuple[str, ...] = ()
    whole: bool = True
    suspicious: tuple[str, ...] = ()
    parts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def runs_code(self) -> bool:
        """Whether loading it executes what is in it, as any pickle does, and a folder that has one."""
        return self.format in _PICKLES or bool(self.classes) or not self.whole


_PICKLES = {"pickle", "joblib", "PyTorch"}


def describe(path: Path) -> Described:
    """Describe a file, or a folder by its files.

    Raises:
        OSError: it cannot be read.
    """
    if path.is_dir():
        return described({os.path.relpath(f, path): Path(f) for f in regular_files(path)}, "")
    return described({"": path}, path.name)


def described(files: Mapping[str, Path], name: str) -> Described:
    """Describe a file, or a folder by its files, wherever its bytes are.

    Args:
        files: path in the folder -> file; a file's own path is empty.
        name: what a file is called, by which a few formats are known.

    Raises:
        OSError: it cannot be read.
    """
    return _file(files[""], Path(name).suffix.lower()) if "" in files else _folder(files)


def _file(path: Path, suffix: str) -> Described:
    with path.open("rb") as stream:
        head = stream.read(64)
        for magic, name, framework in _MAGIC:
            if head.startswith(magic):
                return Described(name, framework)
        if head[4:8] == b"TFL3":
            return Described("TensorFlow Lite", "tensorflow")
        for read in (_safetensors, _npy, _json, _pickle):  # a zip may stand behind a pickle
            stream.seek(0)
            found = read(stream, head, path)
            if found is not None:
                return found
        if suffix == ".ubj" and head[:1] == b"{":
            return Described("UBJSON", "xgboost")
        stream.seek(0)
        if zipfile.is_zipfile(stream):
            return _zip(path)
    return Described("ONNX", "onnx") if suffix == ".onnx" else Described("unknown")


def _folder(files: Mapping[str, Path]) -> Described:
    """As its largest file that is known, with all files as parts; what any pickle in it names."""
    sizes = {name: file.stat().st_size for name, file in sorted(files.items())}
    ordered = sorted(sizes, key=lambda name: -sizes[name])
    inside = [_file(files[name], Path(name).suffix.lower()) for name in ordered]
    return Described(
        "folder",
        next((each.framework for each in inside if each.framework), None),
        classes=_once(each.classes for each in inside),
        whole=all(each.whole for each in inside),
        suspicious=_once(each.suspicious for each in inside),
        parts={name: {"size": size} for name, size in sizes.items()},
    )


def _once(lists: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(chain.from_iterable(lists)))


# ---- safetensors, NumPy, JSON --------------------------------------------------------------------


def _safetensors(stream: IO[bytes], head: bytes, path: Path) -> Described | None:
    if len(head) < 10 or head[8:9] != b"{":
        return None
    (length,) = struct.unpack("<Q", stream.read(8))
    if length > min(HEADER, path.stat().st_size - 8):
        return None
    try:
        header = json.loads(stream.read(length))
        meta = header.pop("__metadata__", {})
        parts = {
            name: {
                "dtype": each["dtype"],
                "shape": list(each["shape"]),
                "digest": _range(stream, 8 + length, each["data_offsets"]),
            }
            for name, each in sorted(header.items())
        }
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    framework = {"pt": "torch", "tf": "tensorflow", "np": "numpy"}.get(str(meta.get("format")))
    return Described("safetensors", framework, parts=parts)


def _range(stream: IO[bytes], start: int, offsets: Iterable[int]) -> str:
    """A checksum of a tensor's bytes."""
    begin, end = offsets
    stream.seek(start + begin)
    left, crc = end - begin, 0
    while left > 0 and (data := stream.read(min(left, 1 << 20))):
        crc = zlib.crc32(data, crc)
        left -= len(data)
    return f"{crc:08x}"


def _npy(stream: IO[bytes], head: bytes, _: Path) -> Described | None:
    if not head.startswith(b"\x93NUMPY"):
        return None
    header = _npy_header(stream)
    return Described("npy", "numpy", parts={"array": header} if header else {})


def _npy_header(stream: IO[bytes]) -> dict[str, Any] | None:
    """Type and shape of an array, by the header of its file."""
    try:
        magic = stream.read(8)
        size = 2 if magic[6] == 1 else 4
        length = int.from_bytes(stream.read(size), "little")
        if not magic.startswith(b"\x93NUMPY") or length > 1_000_000:
            return None
        said = ast.literal_eval(stream.read(length).decode("latin-1").strip())  # literals only
        return {"dtype": str(said["descr"]), "shape": list(said["shape"])}
    except (ValueError, SyntaxError, LookupError, TypeError, MemoryError, RecursionError):
        return None


def _json(stream: IO[bytes], head: bytes, path: Path) -> Described | None:
    if head.lstrip()[:1] not in (b"{", b"[") or path.stat().st_size > JSON:
        return None
    try:
        data = json.loads(stream.read())
    except (ValueError, RecursionError):
        return None
    framework = "xgboost" if isinstance(data, dict) and "learner" in data else None
    return Described("JSON", framework, parts=dict(_leaves("", data)))


def _leaves(prefix: str, data: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Dotted name -> value of what is not a mapping; long values by digest."""
    if isinstance(data, dict) and data:
        for name, value in sorted(data.items()):
            yield from _leaves(f"{prefix}.{name}" if prefix else str(name), value)
    else:
        text = json.dumps(data, ensure_ascii=False)
        yield prefix, {"value": data} if len(text) <= 80 else {"digest": of_text(text)[:8]}


# ---- zip: NumPy, PyTorch, Keras ------------------------------------------------------------------


def _zip(path: Path) -> Described:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            parts = {
                info.filename: {"size": info.file_size, "digest": f"{info.CRC:08x}"}
                for info in sorted(archive.infolist(), key=lambda info: info.filename)
            }
            if names and all(name.endswith(".npy") for name in names):
                return Described("npz", "numpy", parts=_arrays(archive, parts))
            inside = [n for n in names if n.endswith(".pkl")]
            if inside:
                found = [_pickled(archive, name) for name in inside]
                torch = any(posixpath.basename(name) == "data.pkl" for name in inside)
                return Described(
                    "PyTorch" if torch else "zip",
                    "torch" if torch else None,
                    _once(each.names for each in found),
                    all(each.whole for each in found),
                    _once(each.suspicious for each in found),
                    parts,
                )
            if "config.json" in names and any(name.endswith(".weights.h5") for name in names):
                return Described("Keras", "keras", parts=parts)
            return Described("zip", parts=parts)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error, EOFError):
        return Described("a broken zip")


def _pickled(archive: zipfile.ZipFile, name: str) -> pickles.Scanned:
    with archive.open(name) as stream:
        return pickles.scan(io.BytesIO(stream.read(READ)))


def _arrays(
    archive: zipfile.ZipFile, parts: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    found = {}
    for name, part in parts.items():
        with archive.open(name) as stream:
            header = _npy_header(stream) or {}
        found[name.removesuffix(".npy")] = {**header, "digest": part["digest"]}
    return found


# ---- pickle, joblib ------------------------------------------------------------------------------

_COMPRESSED: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"\x1f\x8b", lambda data: zlib.decompressobj(31).decompress(data, READ)),  # gzip
    (b"BZh", lambda data: bz2.BZ2Decompressor().decompress(data, READ)),
    (b"\xfd7zXZ", lambda data: lzma.LZMADecompressor().decompress(data, READ)),
    (b"]\x00\x00", lambda data: lzma.LZMADecompressor().decompress(data, READ)),
    (b"x", lambda data: zlib.decompressobj().decompress(data, READ)),
)


def _pickle(stream: IO[bytes], head: bytes, _: Path) -> Described | None:
    inside: IO[bytes] = stream
    compressed = False
    for magic, read in _COMPRESSED:
        if head.startswith(magic):
            try:
                inside, compressed = io.BytesIO(read(stream.read(READ))), True
            except (OSError, EOFError, zlib.error, lzma.LZMAError):
                return None
            break
    first = inside.read(1)
    inside.seek(0)
    if first != b"\x80":  # any file: no more of it than fits
        inside = io.BytesIO(inside.read(READ))
    found = pickles.scan(inside)
    if first == b"\x80":
        is_one = bool(found.names) or found.whole
    else:  # of an old protocol, which has no mark: loading calls something, or it is plain data
        is_one = bool(found.names and found.calls) or (found.whole and first in b"(]}")
    if not is_one:
        return None
    by_joblib = compressed or any(name.startswith("joblib.") for name in found.names)
    return Described(
        "joblib" if by_joblib else "pickle",
        _framework(found.names),
        found.names,
        found.whole,
        tuple(found.suspicious),
    )


def _framework(names: Iterable[str]) -> str | None:
    heads = {name.replace(" ", ".").split(".")[0] for name in names}
    return next((FRAMEWORKS[head] for head in FRAMEWORKS if head in heads), None)


def distribution(packages: Mapping[str, str], framework: str | None) -> str:
    """The version of a framework among imported packages; empty where it is not known."""
    known = {name.lower().replace("_", "-"): version for name, version in packages.items()}
    return known.get(framework or "", "")


def part_differences(one: Described, other: Described) -> dict[str, str]:
    """Where the parts of two files of one format differ: part -> how; nothing where none is known."""
    found = {}
    for name in sorted({*one.parts, *other.parts}):
        mine, theirs = one.parts.get(name), other.parts.get(name)
        if mine is None or theirs is None:
            found[name] = "only in the second" if mine is None else "only in the first"
        elif mine != theirs:
            keys = [k for k in ("dtype", "shape", "size", "value") if mine.get(k) != theirs.get(k)]
            said = [f"{key} {mine.get(key)} → {theirs.get(key)}" for key in keys]
            found[name] = ", ".join(said) or "other values"
    return found
