"""A vision model on the loopback interface that tells colours, and misbehaves when it is told to."""

from __future__ import annotations

import base64
import io
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

QUICKLY = {"Retry-After-Ms": "10"}
REFUSAL = "I'm sorry, but I can't help with describing this picture."


@dataclass
class Vision:
    """What was asked, and how each question is to be answered."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    behaviour: Callable[[int, str], str] = lambda count, seen: "answer"
    """From the number of the question, from 0, and what is seen in the picture, to how it is answered."""
    key: str = ""
    """The key that is asked for; none when empty."""
    arrived: list[float] = field(default_factory=list)
    """When each was asked, by the monotonic clock."""
    most: int = 0
    """Questions that were there at the same time."""
    gathering: threading.Barrier = field(default_factory=lambda: threading.Barrier(1))
    """Where those that are to be answered together wait for each other."""
    now: int = 0

    def seen(self, at: int) -> list[Image.Image]:
        """The pictures of a question."""
        parts = self.asked[at]["messages"][0]["content"]
        return [_picture(part["image_url"]["url"]) for part in parts if part["type"] == "image_url"]

    def told(self, at: int) -> str:
        text: str = self.asked[at]["messages"][0]["content"][0]["text"]
        return text


def _picture(url: str) -> Image.Image:
    head, data = url.split(",", 1)
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def describe(picture: Image.Image) -> str:
    """The red of the middle, in tens, as the pictures of the tests have it."""
    pixel = picture.convert("RGB").getpixel((picture.width // 2, picture.height // 2))
    assert isinstance(pixel, tuple)
    return f"a plain picture with {round(pixel[0] / 10)} parts of red"


@contextmanager
def vision() -> Iterator[Vision]:
    """Serves until the block ends."""
    state = Vision()
    lock = threading.Lock()
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self._send(200, json.dumps({"object": "list", "data": [{"id": "llava"}, {"id": "qwen3-vl"}]}))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            given = self.headers["Authorization"].removeprefix("Bearer ")
            if state.key and given != state.key:
                return self._send(401, json.dumps({"error": {"message": f"no such key: {given}"}}))
            with lock:
                state.asked.append(json.loads(body))
                state.arrived.append(time.monotonic())
                state.now += 1
                state.most = max(state.most, state.now)
                count = len(state.asked) - 1
            seen = describe(state.seen(count)[0])
            try:
                self._behave(state.behaviour(count, seen), seen)
            finally:
                with lock:
                    state.now -= 1

        def _behave(self, behaviour: str, seen: str) -> None:
            if behaviour == "close":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
            elif behaviour == "hang":
                over.wait(20)
            elif behaviour == "gather":
                state.gathering.wait(20)
                self._answer(seen)
            elif behaviour.startswith("wait:"):
                seconds = behaviour.removeprefix("wait:")
                self._send(429, json.dumps({"error": {"message": "too many"}}), headers={"Retry-After": seconds})
            elif behaviour.isdigit():
                self._send(int(behaviour), json.dumps({"error": {"message": f"error {behaviour} of the server"}}))
            elif behaviour == "html":
                self._send(200, "<!DOCTYPE html><html><body>It works!</body></html>", "text/html")
            elif behaviour == "half a JSON":
                self._send(200, '{"id": "1", "choices": [{"index": 0, "mess')
            elif behaviour == "no choices":
                self._send(200, json.dumps({"id": "1", "object": "chat.completion", "choices": []}))
            elif behaviour == "null":
                self._send(200, "null")
            elif behaviour == "filter":
                self._answer("a", "content_filter")
            elif behaviour == "cut off":
                self._answer("a plain picture with", "length")
            elif behaviour == "refusal":
                self._answer(REFUSAL)
            elif behaviour == "refusal apart":
                self._answer(None, refusal=REFUSAL)
            elif behaviour == "slow":
                time.sleep(0.2)
                self._answer(seen)
            else:
                self._answer(seen if behaviour == "answer" else behaviour.removeprefix("say:"))

        def _answer(self, text: str | None, reason: str = "stop", refusal: str | None = None) -> None:
            message = {"role": "assistant", "content": text, "refusal": refusal}
            usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
            choices = [{"index": 0, "message": message, "finish_reason": reason}]
            body = {
                "id": "1",
                "object": "chat.completion",
                "created": 1,
                "model": "m",
                "choices": choices,
                "usage": usage,
            }
            self._send(200, json.dumps(body))

        def _send(
            self, status: int, body: str, kind: str = "application/json", headers: Mapping[str, str] = QUICKLY
        ) -> None:
            with suppress(OSError):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body.encode())))
                self.end_headers()
                self.wfile.write(body.encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()
