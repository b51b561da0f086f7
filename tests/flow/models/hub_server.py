"""A Hugging Face Hub on the loopback interface, with a CDN of its own, that misbehaves when it is told to."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

COMMIT = "a" * 40
BLOCK = 1 << 20
_RESOLVE = re.compile(r"/(?P<repository>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
_REAL_CONNECT = socket.socket.connect


def only_loopback(monkeypatch: Any = None) -> None:
    """Keeps this process, for good or as long as the test runs, from reaching anything but this machine."""

    def connect(self: socket.socket, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else ""
        if isinstance(address, tuple) and host not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {host}")
        _REAL_CONNECT(self, address)

    if monkeypatch is None:
        setattr(socket.socket, "connect", connect)  # noqa: B010
    else:
        monkeypatch.setattr(socket.socket, "connect", connect)


@dataclass(frozen=True)
class Content:
    """A start followed by one block over and over, so that a large file costs neither memory nor time."""

    start: bytes
    block: bytes = b"\0"
    size: int = -1

    def __post_init__(self) -> None:
        if self.size < 0:
            object.__setattr__(self, "size", len(self.start))

    def read(self, offset: int, count: int) -> bytes:
        count = min(count, self.size - offset)
        head = self.start[offset : offset + count]
        count -= len(head)
        if count <= 0:
            return head
        at = (offset + len(head) - len(self.start)) % len(self.block)
        return head + (self.block * (2 + count // len(self.block)))[at : at + count]

    def pieces(self, offset: int = 0) -> Iterator[bytes]:
        while offset < self.size:
            piece = self.read(offset, BLOCK)
            offset += len(piece)
            yield piece

    @property
    def sha256(self) -> str:
        digest = hashlib.sha256()
        for piece in self.pieces():
            digest.update(piece)
        return digest.hexdigest()

    @property
    def git_blob(self) -> str:
        digest = hashlib.sha1(b"blob %d\0" % self.size)
        for piece in self.pieces():
            digest.update(piece)
        return digest.hexdigest()


@dataclass(frozen=True)
class Hosted:
    """A file in a repository; `large` ones lie on the CDN, under their sha256."""

    content: Content
    commit: str = COMMIT
    large: bool = True
    etag: str = ""
    """What the hub says of it; empty for the truth."""

    @property
    def said(self) -> str:
        return self.etag or (self.content.sha256 if self.large else self.content.git_blob)


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request."""

    cut_after: int | None = None
    """Bytes of the body after which the connection breaks."""
    flip: int | None = None
    """Place in the file of a byte that arrives changed."""
    announce: int | None = None
    """Length that is claimed and sent in place of the real one."""
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    ignore_range: bool = False
    pause: float = 0
    """Seconds before each block."""


@dataclass(frozen=True)
class Request:
    """One request as it came in."""

    server: str
    method: str
    path: str
    headers: Mapping[str, str]


class HubServer:
    """Both servers, their files, the faults that lie ahead and the requests that came."""

    def __init__(self) -> None:
        self.files: dict[tuple[str, str], Hosted] = {}
        self.hub_faults: deque[Fault | None] = deque()
        self.cdn_faults: deque[Fault | None] = deque()
        self.requests: list[Request] = []
        self.while_sending: Callable[[int], None] = lambda sent: None
        self._hub = _Server("hub", self)
        self._cdn = _Server("cdn", self)

    @property
    def endpoint(self) -> str:
        return self._hub.address

    @property
    def cdn(self) -> str:
        return self._cdn.address

    def add(self, repository: str, path: str, hosted: Hosted) -> None:
        """Puts a file up; asking for its sha256 now keeps that out of the requests."""
        self.files[repository, path] = Hosted(hosted.content, hosted.commit, hosted.large, hosted.said)

    def sent_to(self, server: str, method: str | None = None) -> list[Request]:
        return [request for request in self.requests if request.server == server and method in (None, request.method)]

    @contextmanager
    def running(self) -> Iterator[HubServer]:
        with self._hub.running(), self._cdn.running():
            yield self


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what these tests are about."""


class _Server:
    def __init__(self, name: str, hub: HubServer) -> None:
        handler = type("Handler", (_Handler,), {"hub": hub, "part": name})
        self._server = _QuietServer(("127.0.0.1", 0), handler)
        host = "127.0.0.1" if name == "hub" else "localhost"  # as in reality: another host, so no token may go there
        self.address = f"http://{host}:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar[HubServer]
    part: ClassVar[str]
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.hub.requests.append(Request(self.part, self.command, self.path, dict(self.headers)))
        with suppress(BrokenPipeError, ConnectionResetError):
            if self.part == "cdn":
                self._answer_as_cdn(self._next(self.hub.cdn_faults))
            else:
                self._answer_as_hub(self._next(self.hub.hub_faults))

    @staticmethod
    def _next(faults: deque[Fault | None]) -> Fault:
        return (faults.popleft() if faults else None) or Fault()

    def _answer_as_hub(self, fault: Fault) -> None:
        if fault.status is not None:
            return self._refuse(fault.status, fault.headers)
        found = _RESOLVE.fullmatch(unquote(urlsplit(self.path).path))
        hosted = self.hub.files.get((found["repository"], found["path"])) if found else None
        if hosted is None or found is None:
            return self._refuse(404, {"X-Error-Code": "EntryNotFound"})
        if found["revision"] not in ("main", hosted.commit):
            return self._refuse(404, {"X-Error-Code": "RevisionNotFound"})
        headers = {"X-Repo-Commit": hosted.commit, "ETag": f'"{hosted.said}"'}
        if not hosted.large:
            return self._send(hosted.content, fault, headers)
        self.send_response(302)
        linked = {"X-Linked-Size": str(hosted.content.size), "X-Linked-Etag": f'"{hosted.said}"'}
        xet = {"X-Xet-Hash": "f" * 64, "Link": f'<{self.hub.endpoint}/api/xet>; rel="xet-auth"'}
        place = {"Location": f"{self.hub.cdn}/{hosted.said}?signature=very-secret", "Content-Length": "0"}
        for name, value in {**headers, **linked, **xet, **place}.items():
            self.send_header(name, value)
        self.end_headers()
        return None

    def _answer_as_cdn(self, fault: Fault) -> None:
        if fault.status is not None:
            return self._refuse(fault.status, fault.headers)
        digest = urlsplit(self.path).path.strip("/")
        hosted = next((hosted for hosted in self.hub.files.values() if hosted.said == digest), None)
        if hosted is None:
            return self._refuse(404, {})
        return self._send(hosted.content, fault, {})

    def _refuse(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, content: Content, fault: Fault, headers: Mapping[str, str]) -> None:
        size = content.size if fault.announce is None else fault.announce
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted and not fault.ignore_range else 0
        if start >= size and start:
            return self._refuse(416, {"Content-Range": f"bytes */{size}"})
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        for name, value in {**headers, "Content-Length": str(size - start)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return None
        sent = 0
        while start + sent < size:
            if fault.pause:
                time.sleep(fault.pause)
            piece = bytearray(content.read(start + sent, min(BLOCK, size - start - sent)))
            if fault.flip is not None and 0 <= fault.flip - start - sent < len(piece):
                piece[fault.flip - start - sent] ^= 1
            if fault.cut_after is not None and sent + len(piece) > fault.cut_after:
                self.wfile.write(piece[: fault.cut_after - sent])
                self.wfile.flush()
                self.close_connection = True
                with suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
                return None
            self.wfile.write(piece)
            sent += len(piece)
            self.hub.while_sending(start + sent)
        return None
