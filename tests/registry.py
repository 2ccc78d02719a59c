"""A registry of images for tests, on this machine: as much of its protocol as Docker speaks."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Handler(BaseHTTPRequestHandler):
    """Blobs and manifests by digest, names for some of these, and what is being sent."""

    protocol_version = "HTTP/1.1"
    blobs: dict[str, bytes]
    names: dict[str, str]
    sent: dict[str, bytes]

    def do_GET(self) -> None:
        _, _, path = urlsplit(self.path).path.partition("/v2/")
        name, kind, reference = self.split(path)
        digest = self.names.get(f"{name}:{reference}", reference)
        if not path:
            self.answer(200)
        elif digest not in self.blobs:
            self.answer(404)
        else:
            body = self.blobs[digest]
            media = (
                json.loads(body)["mediaType"] if kind == "manifests" else "application/octet-stream"
            )
            self.answer(200, {"Content-Type": media, "Docker-Content-Digest": digest}, body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        number = secrets.token_hex(8)
        self.sent[number] = b""
        self.uploading(f"{self.path.rstrip('/')}/{number}", 0)

    def do_PATCH(self) -> None:
        number = self.path.rpartition("/")[2]
        self.sent[number] += self.body()
        self.uploading(self.path, len(self.sent[number]))

    def do_PUT(self) -> None:
        parts = urlsplit(self.path)
        name, kind, reference = self.split(parts.path.partition("/v2/")[2])
        body = self.body()
        if kind == "manifests":
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
            self.names[f"{name}:{reference}"] = digest
        else:
            body = self.sent.pop(reference.rpartition("/")[2]) + body
            (digest,) = parse_qs(parts.query)["digest"]
        self.blobs[digest] = body
        self.answer(201, {"Docker-Content-Digest": digest, "Location": self.path})

    @staticmethod
    def split(path: str) -> tuple[str, str, str]:
        for kind in ("manifests", "blobs"):
            name, found, reference = path.partition(f"/{kind}/")
            if found:
                return name, kind, reference
        return "", "", ""

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def uploading(self, location: str, size: int) -> None:
        self.answer(202, {"Location": location, "Range": f"0-{max(size - 1, 0)}"})

    def answer(
        self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Nothing is said."""


@contextlib.contextmanager
def running() -> Iterator[str]:
    """A registry without images; gives `ADDRESS:PORT`, which stands before an image's name."""
    handler = type("Handler", (Handler,), {"blobs": {}, "names": {}, "sent": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
