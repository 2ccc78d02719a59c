"""Which files a script reads and writes, by the calls that do it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from ml_experiment.infer.source import Scope, Source
from ml_experiment.infer.values import Origin, origins, value

READ: Final = "read"
WRITE: Final = "write"
FOLDER: Final = "folder"  # a folder is made: its content is written


@dataclass(frozen=True)
class Use:
    """One use of a file.

    Attributes:
        origin: where the path comes from; None where it could not be read.
        kind: READ, WRITE or FOLDER.
        line: of the call, from 1.
        call: the called function, as `numpy.load`.
        sure: False where the function's name only suggests it.
        metrics: whether what is written looks like metrics, as JSON.
    """

    origin: Origin | None
    kind: str
    line: int
    call: str
    sure: bool = True
    metrics: bool = False


def words(text: str) -> frozenset[str]:
    """A set of words, written as they are read."""
    return frozenset(text.split())


_READERS: Final = words(
    """
    read_csv read_parquet read_json read_excel read_table read_feather read_pickle
    read_hdf read_stata read_sas read_spss read_orc read_xml read_fwf read_ipc read_ndjson
    scan_csv scan_parquet scan_ndjson scan_ipc read_file read_h5ad read_image loadtxt
    genfromtxt fromfile loadmat imread open_dataset open_mfdataset load_npz
    load_svmlight_file load_svmlight_files ImageFolder DatasetFolder load_file
    load_state_dict_from_file listdir scandir walk memmap image_dataset_from_directory
    flow_from_directory text_dataset_from_directory load_from_disk DMatrix read_text_file
    fileinput
    """
)
_WRITERS: Final = words(
    """
    to_csv to_parquet to_json to_excel to_feather to_pickle to_hdf to_html to_latex
    to_markdown to_netcdf to_zarr to_file to_stata to_orc to_xml write_csv write_parquet
    write_json write_ndjson write_ipc sink_parquet sink_csv savetxt savez savez_compressed
    savemat savefig imwrite imsave write_image write_html save_model save_weights
    save_pretrained write_h5ad save_to_disk to_disk ExcelWriter FileHandler basicConfig CSVLogger
    SummaryWriter
    """
)
_SECOND: Final = words(  # the path is the second argument
    """
    torch.save onnx.save joblib.dump pickle.dump json.dump yaml.dump yaml.safe_dump
    dill.dump cloudpickle.dump toml.dump tomli_w.dump skops.io.dump save_file save_image
    write_table tf.saved_model.save tensorflow.saved_model.save
    """
)
_OPENERS: Final = words(
    """
    open io.open codecs.open gzip.open bz2.open lzma.open tarfile.open h5py.File
    zipfile.ZipFile rasterio.open fsspec.open PIL.Image.open wave.open
    """
)
_HANDLES: Final = words(  # also given an open file, of which `open` has told already
    """
    json.load json.dump pickle.load pickle.dump yaml.safe_load yaml.load yaml.dump
    yaml.safe_dump csv.reader csv.DictReader csv.writer csv.DictWriter toml.dump
    tomllib.load
    """
)
_KNOWN_LOADERS: Final = words(
    """
    numpy.load torch.load joblib.load pickle.load dill.load onnx.load xarray.load_dataset
    """
)
_NOT_FILES: Final = ("hub.load", "spacy.load", "evaluate.load", "nltk.data.load", "tfds.load")
_PATH_KEYWORDS: Final = words(
    """
    path path_or_buf fname file filename filepath filepath_or_buffer io f fp dst src
    save_directory path_or_buffer excel_writer log_dir root directory uri data_dir
    """
)
_METHODS: Final = {
    "read_text": READ,
    "read_bytes": READ,
    "iterdir": READ,
    "glob": READ,
    "rglob": READ,
    "write_text": WRITE,
    "write_bytes": WRITE,
    "touch": WRITE,
    "mkdir": FOLDER,
}
_NO_METRICS: Final = words(
    """
    model models weights checkpoint ckpt state params parameters config cfg predictions preds
    history vocab tokenizer
    """
)
_METRIC_WORDS: Final = words(
    """
    metric metrics score scores result results accuracy acc loss f1 auc rmse mae mse r2
    precision recall error perplexity bleu rouge iou dice map ndcg roc_auc report summary
    """
)


def uses(source: Source) -> list[Use]:
    """Every use of a file whose call is known, in the order of the file, without repetition."""
    found: dict[Use, None] = {}
    for call, scope in source.calls():
        for use in _uses_of(source, call, scope):
            found[use] = None
    for node, scope in source.nodes:  # the variables that jobs get
        if isinstance(node, (ast.Subscript, ast.Call)):
            for origin in origins(source, node, scope):
                if origin.kind == "environment" and not origin.inside:
                    found.setdefault(Use(origin, "", node.lineno, "os.environ"))
    return list(found)


def _uses_of(source: Source, call: ast.Call, scope: Scope) -> list[Use]:
    name = source.dotted(call.func)
    last = name.split(".")[-1]
    if isinstance(call.func, ast.Name) and call.func.id in source.functions:
        return []  # what the function does with it is seen inside it
    made: list[tuple[ast.expr | None, str]]
    sure = True
    method = isinstance(call.func, ast.Attribute) and not source.is_module(call.func)
    if last == "open" or name in _OPENERS:
        made = _opened(source, call, scope, name, method=method)
    elif method and last in _METHODS and isinstance(call.func, ast.Attribute):
        made = [(call.func.value, _METHODS[last])]
    else:
        made, sure = _called(call, name, last)
    metrics = _writes_metrics(source, call, scope, name, last)
    if metrics and last == "write" and isinstance(call.func, ast.Attribute):
        made = [(call.func.value, WRITE)]  # f.write(json.dumps(metrics))
    found: list[Use] = []
    for path, kind in made:
        here = sorted(origins(source, path, scope)) if path is not None else []
        found += [Use(origin, kind, call.lineno, name, sure, metrics) for origin in here]
        if not here and path is not None and sure and name not in _HANDLES and not metrics:
            found.append(Use(None, kind, call.lineno, name))
    return found


def _opened(
    source: Source, call: ast.Call, scope: Scope, name: str, *, method: bool
) -> list[tuple[ast.expr | None, str]]:
    path: ast.expr | None = call.args[0] if call.args else _keyword(call, _PATH_KEYWORDS)
    position = 1
    if method and isinstance(call.func, ast.Attribute) and name not in _OPENERS:
        path, position = call.func.value, 0
    mode_at = call.args[position] if len(call.args) > position else _keyword(call, {"mode"})
    mode = value(source, mode_at, scope) if mode_at is not None else "r"
    if not isinstance(mode, str):
        return []
    kinds = [WRITE] if set(mode) & set("wax") else [READ]
    if "+" in mode and kinds == [READ]:
        kinds.append(WRITE)
    return [(path, kind) for kind in kinds]


def _called(call: ast.Call, name: str, last: str) -> tuple[list[tuple[ast.expr | None, str]], bool]:
    """The paths that a call is given, what it does with them, and whether that is certain."""
    first = call.args[0] if call.args else _keyword(call, _PATH_KEYWORDS)
    second = call.args[1] if len(call.args) > 1 else _keyword(call, _PATH_KEYWORDS)
    if name in ("shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.copytree"):
        return [(first, READ), (second, WRITE)], True
    if name.endswith(_NOT_FILES):
        return [], True
    if name in ("os.makedirs", "os.mkdir"):
        return [(first, FOLDER)], True
    if name == "torch.onnx.export":
        third = call.args[2] if len(call.args) > 2 else _keyword(call, _PATH_KEYWORDS)
        return [(third, WRITE)], True
    if name in _SECOND or last in _SECOND:
        return [(second, WRITE)], True
    if last in _READERS or name in _KNOWN_LOADERS or ".read." in name:
        return [(first, READ)], name not in ("open_dataset", "fileinput")
    if last in _WRITERS or ".write." in name or (last == "save" and "." in name):
        return [(first, WRITE)], True
    if last in ("glob", "iglob") and name.startswith("glob."):
        return [(first, READ)], True
    if name in _HANDLES:
        return [(first, READ)], True
    if last in ("load", "parse", "loads_file") or last.startswith(("load_", "read_")):
        return [(arg, READ) for arg in call.args], False
    if last.startswith(("save_", "write_", "dump_", "export_", "plot_")):
        return [(arg, WRITE) for arg in call.args], False
    return [], True


def _keyword(call: ast.Call, names: frozenset[str] | set[str]) -> ast.expr | None:
    for keyword in call.keywords:
        if keyword.arg in names:
            return keyword.value
    return None


def _writes_metrics(source: Source, call: ast.Call, scope: Scope, name: str, last: str) -> bool:
    """Whether a call writes JSON that looks like metrics."""
    data = call.args[0] if call.args else None
    if last in ("write_text", "write"):
        inner = data if isinstance(data, ast.Call) else None
        if inner is None or source.dotted(inner.func) != "json.dumps" or not inner.args:
            return False
        data = inner.args[0]
    elif name != "json.dump":
        return False
    return data is not None and _like_metrics(source, data, scope)


def _like_metrics(source: Source, data: ast.expr, scope: Scope, depth: int = 0) -> bool:
    if isinstance(data, ast.Name):
        if _metric_name(data.id):
            return True
        exprs = [bound.expr for bound in scope.find(data.id) if bound.expr is not None]
        return depth < 3 and any(_like_metrics(source, e, scope, depth + 1) for e in exprs)
    if isinstance(data, ast.Attribute):
        return _metric_name(data.attr)
    if isinstance(data, ast.Dict):
        keys = [value(source, key, scope) for key in data.keys if key is not None]
        return any(isinstance(key, str) and _metric_name(key) for key in keys)
    if isinstance(data, ast.Call) and source.dotted(data.func) == "dict":
        return any(keyword.arg and _metric_name(keyword.arg) for keyword in data.keywords)
    return False


def _metric_name(name: str) -> bool:
    return bool(set(name.lower().replace("-", "_").split("_")) & _METRIC_WORDS)


def metrics_rank(key: str, file: str, found: Iterable[Use]) -> int:
    """How much says that metrics are in a file that is written; 0 where nothing does.

    The argument's own name counts most, then the file's, then what is written: a model in JSON
    may hold a loss as well.
    """
    named = PurePosixPath(file).name.lower()
    for most, text in ((7, key.lower()), (4, named)):
        for less, word in enumerate(("metric", "score", "result")):
            if word in text:
                return most - less
    parts = {*re.split(r"[^a-z0-9]+", f"{key.lower()} {named}")}
    return int(any(use.metrics for use in found) and not parts & _NO_METRICS)
