"""Both output streams of a process, read as the bytes arrive."""

from __future__ import annotations

import os
import selectors
import subprocess
from collections.abc import Callable
from typing import IO, Literal

Stream = Literal["out", "err"]

POLL_SECONDS = 0.05
_CHUNK_BYTES = 1 << 16


class Pipes:
    """Both output streams of a child, read as the bytes arrive."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        assert child.stderr is not None
        self._selector = selectors.DefaultSelector()
        self._files: tuple[IO[bytes], ...] = (child.stdout, child.stderr)
        for file, name in ((child.stdout, "out"), (child.stderr, "err")):
            self._selector.register(file, selectors.EVENT_READ, name)

    def deliver(self, on_chunk: Callable[[Stream, bytes], None], wait_seconds: float = POLL_SECONDS) -> None:
        """Hand over what is there, waiting for it a moment; a short one once the streams are closed."""
        for key, _ in self._selector.select(wait_seconds if self._selector.get_map() else wait_seconds / 10):
            data = os.read(key.fd, _CHUNK_BYTES)
            if data:
                on_chunk(key.data, data)
            else:
                self._selector.unregister(key.fileobj)

    def drain(self, on_chunk: Callable[[Stream, bytes], None], *, until: float, clock: Callable[[], float]) -> None:
        """Read to the end of both streams, or until `until` where a process outside the group holds them."""
        while self._selector.get_map() and clock() < until:
            self.deliver(on_chunk)

    def close(self) -> None:
        self._selector.close()
        for file in self._files:
            file.close()
