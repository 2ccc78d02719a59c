"""Model files of real libraries, described without loading any of them."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from ml_experiment.modelfiles import describe, described, distribution, part_differences


@pytest.fixture(scope="module")
def fitted() -> LogisticRegression:
    return LogisticRegression().fit(np.arange(8).reshape(-1, 1), [0] * 4 + [1] * 4)


@pytest.mark.parametrize("compress", [0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3)])
def test_joblib(fitted: LogisticRegression, tmp_path: Path, compress: int) -> None:
    file = tmp_path / "model.joblib"
    joblib.dump(fitted, file, compress=compress)
    found = describe(file)
    assert (found.format, found.framework) == ("joblib", "scikit-learn")
    assert found.classes[0] == "sklearn.linear_model._logistic LogisticRegression"
    assert found.runs_code
    assert not found.whole  # arrays lie between its opcodes
    assert not found.suspicious


def test_pickle(fitted: LogisticRegression, tmp_path: Path) -> None:
    file = tmp_path / "model.pkl"
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        file.write_bytes(pickle.dumps(fitted, protocol))
        found = describe(file)
        assert (found.format, found.framework, found.whole) == ("pickle", "scikit-learn", True)
        assert "sklearn.linear_model._logistic LogisticRegression" in found.classes
        assert not found.suspicious


def test_pytorch(tmp_path: Path) -> None:
    one, other = tmp_path / "one.pt", tmp_path / "other.pt"
    torch.save({"w": torch.zeros(2, 3)}, one)
    torch.save({"w": torch.ones(2, 3)}, other)
    found = describe(one)
    assert (found.format, found.framework, found.runs_code) == ("PyTorch", "torch", True)
    assert "torch._utils _rebuild_tensor_v2" in found.classes
    assert not found.suspicious
    assert found.parts["one/data/0"]["size"] == 24


def test_npz(tmp_path: Path) -> None:
    one, other = tmp_path / "one.npz", tmp_path / "other.npz"
    np.savez(one, w=np.zeros((2, 3), "float32"), b=np.zeros(3), same=np.ones(2))
    np.savez_compressed(other, w=np.ones((2, 3), "float32"), b=np.zeros(4), same=np.ones(2))
    found = describe(one)
    assert (found.format, found.runs_code) == ("npz", False)
    assert (found.parts["w"]["dtype"], found.parts["w"]["shape"]) == ("<f4", [2, 3])
    assert part_differences(found, describe(other)) == {
        "w": "other values",
        "b": "shape [3] → [4]",
    }


def tensors(path: Path, **values: list[float]) -> Path:
    """A safetensors file: the length of the header, the header, the bytes."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, each in values.items():
        raw = struct.pack(f"<{len(each)}f", *each)
        place = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": "F32", "shape": [len(each)], "data_offsets": place}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def test_safetensors(tmp_path: Path) -> None:
    one = describe(tensors(tmp_path / "one.safetensors", a=[1.0, 2.0], b=[3.0], c=[4.0]))
    other = describe(tensors(tmp_path / "other.safetensors", a=[1.0, 2.5], b=[3.0], d=[4.0]))
    assert (one.format, one.framework, one.runs_code) == ("safetensors", "torch", False)
    assert (one.parts["a"]["dtype"], one.parts["a"]["shape"]) == ("F32", [2])
    assert part_differences(one, other) == {
        "a": "other values",
        "c": "only in the first",
        "d": "only in the second",
    }


def test_json(tmp_path: Path) -> None:
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    one.write_text('{"learner": {"rate": 0.1, "trees": [1, 2]}}')
    other.write_text('{"learner": {"rate": 0.2, "trees": [1, 2]}}')
    found = describe(one)
    assert (found.format, found.framework) == ("JSON", "xgboost")
    assert part_differences(found, describe(other)) == {"learner.rate": "value 0.1 → 0.2"}


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"GGUF\x03\0\0\0", "GGUF"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 20, "HDF5"),
        (b"tree\nversion=v4\n", "LightGBM text"),
        (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
        (struct.pack("<Q", 1 << 60) + b"{}", "unknown"),
        (b"PK\x03\x04 and no more", "unknown"),
        (b"", "unknown"),
        (b"\x80\x04\xff\xff", "unknown"),
        (b"x\x9cnothing", "unknown"),
        (b"{not json", "unknown"),
    ],
)
def test_others_and_broken_ones(data: bytes, name: str, tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(data)
    assert describe(file).format == name


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return eval, (f"open({str(self.target)!r}, 'w').close()",)


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_a_bomb_does_not_go_off(protocol: int, tmp_path: Path) -> None:
    gone_off = tmp_path / "gone-off"
    data = pickle.dumps({"w": 1, "bomb": Bomb(gone_off)}, protocol)
    plain, inside = tmp_path / "model.pkl", tmp_path / "model.pt"
    plain.write_bytes(data)
    with zipfile.ZipFile(inside, "w") as archive:
        archive.writestr("model/data.pkl", data)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "weights.pkl").write_bytes(data)
    for number in range(30):  # it is the smallest of many
        (folder / f"{number}.bin").write_bytes(bytes(1000))
    module = "builtins" if protocol > 2 else "__builtin__"
    for file in (plain, inside, folder):
        found = describe(file)
        assert (found.suspicious, found.runs_code) == ((f"{module} eval",), True)
    assert not gone_off.exists()
    pickle.loads(data)
    assert gone_off.exists()  # so it was one


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x8c\x07logging\x8c\tos.system\x93.",  # by way of a module that has imported it
        b"Vx\n0cposix\nsystem\n(Vtrue\ntR.",  # begins with a text
        b"cposix\nsystem\n(Vtrue\ntR.PK\x05\x06" + bytes(18),  # an empty zip stands behind it
    ],
)
def test_a_bomb_in_disguise(data: bytes, tmp_path: Path) -> None:
    pickle.loads(data)  # `true` ends with 0
    file = tmp_path / "model.bin"
    file.write_bytes(data)
    found = describe(file)
    assert found.suspicious
    assert found.runs_code
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}))
        archive.writestr("b/data.pkl", data)
    assert describe(tmp_path / "model.pt").suspicious == found.suspicious


def test_a_module_of_ones_own_may_have_any_name(tmp_path: Path) -> None:
    file = tmp_path / "model.pkl"
    file.write_bytes(b"\x80\x04\x8c\ncode.model\x8c\x03Net\x93)\x81.")
    assert describe(file).classes == ("code.model Net",)
    assert not describe(file).suspicious
    file.write_bytes(b"config\nfor nobody\n")  # c is the opcode that imports something
    assert describe(file).format == "unknown"


def test_a_file_is_described_wherever_its_bytes_are(tmp_path: Path) -> None:
    objects = [tmp_path / "00aa", tmp_path / "11bb"]
    for file, text in zip(objects, ("{}", "no JSON"), strict=True):
        file.write_text(text)
    assert described({"": objects[1]}, "model.onnx").format == "ONNX"
    found = described({"a.json": objects[0], "b.bin": objects[1]}, "model")
    assert found.format == "folder"
    assert found.parts == {"a.json": {"size": 2}, "b.bin": {"size": 7}}


def test_a_name_that_is_put_together_while_loading_is_suspicious(tmp_path: Path) -> None:
    file = tmp_path / "model.pkl"
    # the module's name comes out of a call, so no string in the file is it
    file.write_bytes(b"\x80\x04cbuiltins\nstr\n(\x8c\x02os\x74R\x8c\x06system\x93.")
    assert describe(file).suspicious


def test_the_version_of_a_framework() -> None:
    assert distribution({"Scikit_Learn": "1.9.1"}, "scikit-learn") == "1.9.1"
    assert distribution({}, None) == ""
