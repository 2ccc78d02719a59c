"""Docker's engine through its SDK: images that are pulled, built, compared, kept as files.

What a job runs in is started by Docker's own program (boot/docker.sh): here are the things that take
long and are done once.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import docker
from docker import errors
from requests.exceptions import RequestException

from ml_experiment.adapters.docker_run import unreachable
from ml_experiment.errors import UserError

Say = Callable[[str], None]
EPOCH = 315532800  # 1980-01-01: the time of every file that we put into an image
CREATED = "1980-01-01T00:00:00Z"
TAIL = 25  # lines of a build that has failed
# What the engine itself puts into a container; no part of the image.
ENGINES = frozenset(
    {".dockerenv", "dev/console", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab"}
)
PROXIES = [f"{kind}_proxy" for kind in ("http", "https", "ftp", "no")]
PROXIES += [name.upper() for name in PROXIES]
CHUNK = 1 << 20
PATIENCE = 600  # seconds for an answer: a commit of a large layer takes its time


@dataclass(frozen=True)
class Image:
    """An image that the engine has.

    Attributes:
        id: the digest of its configuration.
        registry: how registries know it: `name@sha256:…`.
        platform: such as linux/amd64.
        layers: the digests of its layers.
        config: what a container of it begins with: variables, user, ….
    """

    id: str
    registry: tuple[str, ...]
    platform: str
    layers: tuple[str, ...]
    config: Mapping[str, Any]


class Engine:
    """An engine that answers.

    Args:
        environ: where DOCKER_HOST and its like are; those of this process where it is None.

    Raises:
        UserError: there is none, or this user may not use it.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        given = None if environ is None else dict(environ)
        try:
            self._client = docker.from_env(environment=given, timeout=PATIENCE)
            told = self._client.version()
        except (errors.DockerException, RequestException) as error:
            raise unreachable(str(error), "say where it is: DOCKER_HOST") from None
        self._api = self._client.api
        self.platform = f"{told['Os']}/{told['Arch']}"

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def image(self, name: str) -> Image | None:
        """An image by its name, id or digest; None where the engine does not have it."""
        try:
            data = self._api.inspect_image(name)
        except errors.NotFound:
            return None
        except errors.APIError as error:
            raise UserError(f"Docker: {error.explanation}", value=name) from None
        platform = f"{data['Os']}/{data['Architecture']}"
        layers = tuple((data.get("RootFS") or {}).get("Layers") or ())
        registry = tuple(sorted(data.get("RepoDigests") or ()))
        return Image(data["Id"], registry, platform, layers, data.get("Config") or {})

    def pull(self, name: str, platform: str | None, say: Say) -> Image:
        """Fetch an image from its registry.

        Raises:
            UserError: there is no such image, or the registry does not answer.
        """
        say(f"pulling {name}")
        trouble = None
        try:
            for line in self._api.pull(name, stream=True, decode=True, platform=platform):
                trouble = line.get("error", trouble)
                if line.get("status") in ("Pull complete", "Already exists"):
                    say(f"  layer {line.get('id', '')}: {line['status'].lower()}")
        except (errors.APIError, RequestException) as error:
            trouble = getattr(error, "explanation", None) or str(error)
            if error.response is not None:
                error.response.close()  # the SDK leaves it open
        if trouble is not None:
            hint = "is the name right, and can its registry be reached? An image that is a file: `docker load`"
            raise UserError(
                f"the image is not here and cannot be pulled: {trouble}", value=name, hint=hint
            ) from None
        found = self.image(name)
        if found is None:
            raise UserError("the image was pulled and is not there", value=name)
        return found

    def build(
        self, context: Path, platform: str | None, say: Say, *, again: bool, what: str
    ) -> Image:
        """Build the image of a folder with a Dockerfile, with the network of this machine, and its
        proxies: the engine writes these into no image and no history.

        Args:
            context: the folder.
            platform: such as linux/amd64; None for the engine's own.
            say: takes a line of progress.
            again: whether nothing of earlier builds is used.
            what: is built, for a message.

        Raises:
            UserError: a step has failed; with the step and the end of its output.
        """
        step, built, trouble = "", None, "the engine does not say what it has built"
        printed: list[str] = []
        options = {"rm": True, "forcerm": True, "nocache": again, "network_mode": "host"}
        try:
            for line in self._api.build(
                path=str(context), platform=platform, decode=True, buildargs=_proxies(), **options
            ):
                text = str(line.get("stream") or "").rstrip("\n")
                if text.startswith("Step "):
                    step, printed = text, []
                    say(text.splitlines()[0])
                elif text.strip():
                    printed.append(text)
                    if not text.startswith(" --->"):
                        say(f"  {text}")
                built = (line.get("aux") or {}).get("ID") or built
                trouble = line.get("error") or trouble  # with it the lines end
        except (errors.APIError, RequestException) as error:
            trouble = str(getattr(error, "explanation", None) or error)
        found = None if built is None else self.image(built)
        if found is None:
            raise _failed(what, step, printed, trouble)
        return found

    def run(self, image: str, words: Sequence[str]) -> tuple[int, str]:
        """Run a program in an image, without network. Returns its exit status, and what it printed."""
        with self._container(image, words) as container:
            try:
                self._api.start(container)
            except errors.APIError as error:
                return 127, str(error.explanation)
            status = self._api.wait(container)["StatusCode"]
            out: bytes = self._api.logs(container, stdout=True, stderr=False)
            err: bytes = self._api.logs(container, stdout=False, stderr=True) if status else b""
        return status, (out + err).decode("utf-8", "replace")

    @contextmanager
    def _container(self, image: str, words: Sequence[str] = ("-c", "true")) -> Iterator[str]:
        try:
            made = self._api.create_container(
                image, list(words[1:]), entrypoint=[words[0]], network_disabled=True, user="0"
            )["Id"]
        except errors.APIError as error:
            raise UserError(f"Docker: {error.explanation}", value=image) from None
        try:
            yield made
        finally:
            self._api.remove_container(made, force=True)

    def tag(self, image: str, name: str) -> None:
        """Give an image a name."""
        repository, _, tag = name.rpartition(":")
        self._api.tag(image, repository, tag, force=True)

    def remove(self, image: str) -> None:
        """Remove an image that nothing else needs; its layers stay for the next build."""
        try:
            self._api.remove_image(image, noprune=True)
        except errors.APIError:
            return

    def files(self, image: str) -> dict[str, tuple[str, ...]]:
        """Path -> kind, mode, owner, target of a link and digest of every file in an image."""
        found: dict[str, tuple[str, ...]] = {}
        with self._container(image) as container, _spooled(self._api.export(container)) as tar:
            for member in tar:
                path = member.name.removeprefix("./").rstrip("/")
                if path and path not in ENGINES:
                    content = tar.extractfile(member) if member.isreg() else None
                    digest = "" if content is None else _digest(content)
                    owner = f"{member.uid}:{member.gid}"
                    found[path] = (
                        str(member.type),
                        oct(member.mode),
                        owner,
                        member.linkname,
                        digest,
                    )
        return found

    def same_everywhere(
        self, image: Image, base: Image, path: str, *, whole: bool = False
    ) -> Image:
        """An image with one layer upon `base`: what `image` has at `path`.

        Its bytes depend on the contents alone and on no clock, so that whoever makes it of the same
        has the same image, by its id. `whole`: the engine is given the layers that it has as well.
        """
        with tempfile.TemporaryFile() as layer:
            with self._container(image.id) as container:
                stream, _ = self._api.get_archive(container, path)
                with _spooled(stream) as tar:
                    _plain_layer(tar, layer, Path(path).parent.as_posix().strip("/"))
            layer.seek(0)
            digest = f"sha256:{_digest(layer)}"
            config = _config(image, base, digest, f"COPY {path}")
            name = hashlib.sha256(config).hexdigest()
            if self.image(f"sha256:{name}") is None:
                self._load(config, name, layer, base, whole=whole)
        found = self.image(f"sha256:{name}")
        if found is None:
            raise UserError("the engine has another id for an image than its digest", value=name)
        return found

    def _load(
        self, config: bytes, name: str, layer: IO[bytes], base: Image, *, whole: bool
    ) -> None:
        """Hand over an image of which the engine has all layers but one; where it must, all of them."""
        with tempfile.TemporaryFile() as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                known = [f"{digest[7:]}.tar" for digest in base.layers]
                below = self._base_layers(tar, base) if whole else known
                _add(tar, f"{name}.json", config)
                layer.seek(0, io.SEEK_END)
                entry = _entry("layer.tar", layer.tell())
                layer.seek(0)
                tar.addfile(entry, layer)
                layers = [*below, "layer.tar"]
                manifest = [{"Config": f"{name}.json", "RepoTags": None, "Layers": layers}]
                _add(tar, "manifest.json", json.dumps(manifest).encode())
            file.seek(0)
            try:
                self._client.images.load(file)
            except (errors.DockerException, RequestException) as error:
                if whole:
                    raise UserError(f"Docker does not take the image: {error}") from None
                self._load(config, name, layer, base, whole=True)  # a store that wants every layer

    def _base_layers(self, tar: tarfile.TarFile, base: Image) -> list[str]:
        with _spooled(self._api.get_image(base.id)) as saved:
            members = {member.name: member for member in saved}
            listing = saved.extractfile(members["manifest.json"])
            assert listing is not None
            (known,) = json.load(listing)
            for path in known["Layers"]:
                member = members[path]
                while member.issym():  # layers that are the same, in archives of old engines
                    target = Path(member.name).parent / member.linkname
                    member = members[_normal(target)]
                tar.addfile(_entry(path, member.size), saved.extractfile(member))
        return list(known["Layers"])

    def save(self, image: str, name: str, file: IO[bytes]) -> None:
        """Write an image as an archive that `docker load` takes.

        Args:
            image: its id.
            name: that is in the archive too, if it means this image; one with a digest cannot be.
            file: to write to.
        """
        chosen = self._client.images.get(image)
        tag = next((tag for tag in chosen.tags if tag in (name, f"{name}:latest")), False)
        for chunk in chosen.save(named=tag):
            file.write(chunk)


def _proxies() -> dict[str, str]:
    """The proxies of this process, in both spellings: programs know one or the other."""
    found = {name: os.environ[name] for name in PROXIES if name in os.environ}
    return found | {name.upper(): value for name, value in found.items()}


def _digest(file: IO[bytes]) -> str:
    found = hashlib.sha256()
    while chunk := file.read(CHUNK):
        found.update(chunk)
    return found.hexdigest()


def _normal(path: Path) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


@contextmanager
def _spooled(chunks: Iterator[bytes]) -> Iterator[tarfile.TarFile]:
    """An archive that comes in pieces, on the disk."""
    with tempfile.TemporaryFile() as file:
        for chunk in chunks:
            file.write(chunk)
        file.seek(0)
        with tarfile.open(fileobj=file) as tar:
            yield tar


def _plain_layer(tar: tarfile.TarFile, layer: IO[bytes], below: str) -> None:
    """Write an archive again, sorted, with one time and without names of users."""
    with tarfile.open(fileobj=layer, mode="w", format=tarfile.PAX_FORMAT) as made:
        for member in sorted(tar.getmembers(), key=lambda m: (m.islnk(), m.name)):
            content = tar.extractfile(member) if member.isreg() else None
            plain = tarfile.TarInfo(f"{below}/{member.name}" if below else member.name)
            plain.type, plain.mode, plain.size = member.type, member.mode, member.size
            plain.mtime, plain.linkname = EPOCH, member.linkname
            if member.islnk():
                plain.linkname = f"{below}/{member.linkname}" if below else member.linkname
            made.addfile(plain, content)


def _config(image: Image, base: Image, layer: str, made_by: str) -> bytes:
    """The configuration of an image, whose digest is its id: no time and no machine is in it."""
    system, machine, *variant = image.platform.split("/")
    keys = ("Cmd", "Entrypoint", "Env", "ExposedPorts", "Labels", "User", "Volumes", "WorkingDir")
    data: dict[str, Any] = {
        "architecture": machine,
        "config": {key: image.config[key] for key in keys if image.config.get(key)},
        "created": CREATED,
        "history": [
            *({"created": CREATED, "created_by": "base"} for _ in base.layers),
            {"created": CREATED, "created_by": made_by},
        ],
        "os": system,
        "rootfs": {"diff_ids": [*base.layers, layer], "type": "layers"},
    }
    if variant:
        data["variant"] = variant[0]
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime = size, EPOCH
    return entry


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    tar.addfile(_entry(name, len(content)), io.BytesIO(content))


def _failed(what: str, step: str, printed: Sequence[str], told: str) -> UserError:
    end = "\n".join(f"    {line}" for text in printed for line in text.splitlines()[-TAIL:])
    lines = end.splitlines()[-TAIL:]
    hint = None
    if "no space left" in told.lower() or any("No space left" in line for line in lines):
        hint = "the engine's disk is full: `docker system df`, `docker system prune`"
    if "requires BuildKit" in told:
        hint = "the engine builds it without BuildKit: do without RUN --mount"
    head = f"building {what} has failed" + (f" in: {step}" if step else "")
    return UserError("\n".join([head, *lines, f"    {told}"]), hint=hint)
