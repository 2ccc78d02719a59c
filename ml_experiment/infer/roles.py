"""What an argument is for: an input, an output, the metrics, the seed, threads, a parameter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ml_experiment.infer.arguments import NOTHING, Argument
from ml_experiment.infer.files import FOLDER, READ, WRITE, Use, metrics_rank, words

SEEDS: Final = words(
    """
    seed random_state random_seed rng_seed manual_seed randomstate rseed
    """
)
THREADS: Final = words(
    """
    threads n_threads num_threads nthreads nthread n_jobs njobs jobs cores n_cores
    num_cores cpus n_cpus num_cpus
    """
)
_OUTPUT_WORDS: Final = words(
    """
    log output outputs out outfile outdir save saved dest destination dst export results
    result logdir metrics predictions report figure
    """
)
_INPUT_WORDS: Final = words(
    """
    data input inputs in infile train test val valid validation dataset file filename
    filepath path dir folder csv corpus vocab config cfg root source src labels images
    table datadir
    """
)
_PATH_WORDS: Final = words(
    """
    path dir file folder root filename filepath directory datadir outdir outfile infile
    logdir
    """
)
_NUMBER_WORDS: Final = words(  # `--output-dim` is no path
    """
    level dim dims size format features channels every freq frequency interval steps step mode
    type column col cols key activation layer layers ratio fraction split rate epochs
    strategy top best length name prefix suffix n num batch count index id
    """
)
_EXTENSIONS: Final = words(
    """
    csv tsv txt json jsonl yaml yml toml parquet feather arrow pkl pickle joblib npy npz
    pt pth ckpt h5 hdf5 onnx safetensors bin model png jpg jpeg pdf svg tif tiff xlsx xls
    gz zip bz2 xz tar tgz zst log md html db sqlite mat rds rdata fasta fastq bam vcf bed
    nc zarr wav mp3 mp4 keras ubj cbm dat data orc xml geojson shp ipc svmlight libsvm
    """
)
_FOLDERS: Final = words(
    """
    data dataset datasets raw processed input inputs output outputs out result results
    model models checkpoint checkpoints ckpt ckpts log logs runs fig figs figures plots
    artifacts reports
    """
)


@dataclass(frozen=True)
class Role:
    """What an argument is.

    Attributes:
        name: `input`, `output`, `metrics`, `seed`, `threads` or `param`.
        folder: whether the path is a folder.
        guess: the reason, where it is not certain.
    """

    name: str
    folder: bool = False
    guess: str | None = None


def looks_like_path(text: object, *, strict: bool = True) -> bool:
    """Whether a default value is a path; `strict` wants more than a slash (`org/model` has one)."""
    if not isinstance(text, str) or not text or "://" in text or "\n" in text:
        return False
    extension = text.rpartition(".")[2].lower() if "." in text.rpartition("/")[2] else ""
    if extension in _EXTENSIONS or text.startswith(("./", "../", "/", "~/")):
        return True
    if text.endswith("/") or text.split("/")[0].lower() in _FOLDERS:
        return True
    return "/" in text and not strict


def role(argument: Argument, uses: Sequence[Use]) -> Role:
    """What an argument is for, by its uses, then by its name, then by its default."""
    key = argument.key.lower().replace("-", "_")
    if key in SEEDS and not argument.many:
        return Role("seed")
    if key in THREADS:
        return Role("threads")
    if argument.literal is not None or not _may_be_path(argument):
        return Role("param")
    found = _by_use(argument, uses) or _by_name(argument)
    if found is None and looks_like_path(argument.default):
        found = Role("input", guess=f"its default {argument.default} looks like a path")
    if found is not None and found.name == "output" and _holds_metrics(argument, uses, found):
        return Role("metrics", guess=found.guess)
    return found or Role("param")


def _may_be_path(argument: Argument) -> bool:
    default = argument.default
    if default is None or default is NOTHING:
        return argument.type in (None, "str", "Path", "pathlib.Path") or argument.kind is not None
    if isinstance(default, list):
        return argument.many and all(isinstance(item, str) for item in default)
    return isinstance(default, str)


def _by_use(argument: Argument, uses: Sequence[Use]) -> Role | None:
    if argument.kind is not None:
        folder = any(use.origin is not None and use.origin.inside for use in uses)
        return Role("input" if argument.kind == READ else "output", folder)
    blank = argument.default in (None, NOTHING)
    if not blank and not looks_like_path(argument.default, strict=False):
        # A word such as `cifar10` is a path only where it surely is opened.
        parts = set(_words(argument.key))
        uses = [use for use in uses if use.sure and use.call != "load_dataset"]
        uses = uses if parts & _PATH_WORDS or not _only_inside(uses) else []
    uses = [use for use in uses if use.kind]
    reads = [use for use in uses if use.kind == READ]
    writes = [use for use in uses if use.kind in (WRITE, FOLDER)]
    folder = _is_folder(argument.key) or any(
        use.kind == FOLDER or (use.origin and use.origin.inside) for use in uses
    )
    if not uses:
        return None
    sure = any(use.sure for use in uses)
    why = None if sure else f"it is given to {uses[0].call}() on line {uses[0].line}"
    if reads and any(use.kind == WRITE for use in writes):
        named = _by_name(argument)
        name = named.name if named else "output"
        return Role(name, folder, "the script both reads and writes it")
    if reads and writes:  # the folder of the data is made where it is missing
        return Role("input", folder, "the script reads it, and makes it where it is missing")
    return Role("output" if writes else "input", folder, why)


def _only_inside(uses: Sequence[Use]) -> bool:
    return all(use.origin is not None and use.origin.inside for use in uses)


def _words(key: str) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+", key.lower()) if word]


def _is_folder(key: str) -> bool:
    return _words(key)[-1:] in (
        [word] for word in ("dir", "folder", "directory", "outdir", "logdir")
    )


def _by_name(argument: Argument) -> Role | None:
    parts = _words(argument.key)
    if not parts or parts[-1] in _NUMBER_WORDS or parts[0] in ("n", "num", "max", "min", "use"):
        return None
    blank = argument.default in (None, NOTHING)
    pathlike = parts[-1] in _PATH_WORDS or looks_like_path(argument.default, strict=False)
    typed = argument.type in ("Path", "pathlib.Path")
    if not (pathlike or typed or (blank and (argument.required or parts[-1] in _OUTPUT_WORDS))):
        return None
    if parts[-2:] == ["or", "path"]:  # `model_name_or_path`: mostly a name
        return None
    folder = _is_folder(argument.key)
    if set(parts) & _OUTPUT_WORDS:
        return Role("output", folder, "by its name")
    if set(parts) & _INPUT_WORDS:
        return Role("input", folder, "by its name")
    return None


def _holds_metrics(argument: Argument, uses: Sequence[Use], found: Role) -> bool:
    default = argument.default if isinstance(argument.default, str) else ""
    if found.folder or argument.many:
        return False
    writes = [use for use in uses if use.kind == WRITE]
    rank = metrics_rank(argument.key, default, writes)
    if not rank:
        return False
    as_json = default.endswith(".json") or any(_writes_json(use) for use in writes)
    if any(use.metrics for use in writes):
        return not default or default.endswith(".json")
    return as_json or not (default or _other_format(writes))


def _writes_json(use: Use) -> bool:
    return use.call == "json.dump" or use.call.endswith("to_json")


def _other_format(writes: Sequence[Use]) -> bool:
    return any(extension([use]) not in ("", ".txt", ".json") for use in writes)


_EXTENSION_OF: Final = {
    "torch.save": ".pt",
    "joblib.dump": ".joblib",
    "pickle.dump": ".pkl",
    "cloudpickle.dump": ".pkl",
    "dill.dump": ".pkl",
    "json.dump": ".json",
    "yaml.dump": ".yaml",
    "yaml.safe_dump": ".yaml",
    "numpy.save": ".npy",
    "numpy.savez": ".npz",
    "numpy.savez_compressed": ".npz",
    "torch.onnx.export": ".onnx",
    "onnx.save": ".onnx",
    "h5py.File": ".h5",
}
_EXTENSION_OF_METHOD: Final = {
    "to_csv": ".csv",
    "write_csv": ".csv",
    "savetxt": ".txt",
    "to_parquet": ".parquet",
    "write_parquet": ".parquet",
    "write_table": ".parquet",
    "to_feather": ".feather",
    "to_json": ".json",
    "to_pickle": ".pkl",
    "to_excel": ".xlsx",
    "to_html": ".html",
    "write_html": ".html",
    "savefig": ".png",
    "imwrite": ".png",
    "imsave": ".png",
    "save_image": ".png",
    "save_file": ".safetensors",
    "write_text": ".txt",
}


def extension(uses: Sequence[Use]) -> str:
    """The usual extension of what the calls write, or ""."""
    for use in uses:
        known = _EXTENSION_OF.get(use.call) or _EXTENSION_OF_METHOD.get(use.call.split(".")[-1])
        if known and use.kind == WRITE:
            return known
    return ""
