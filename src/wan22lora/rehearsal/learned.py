"""What stands for the weights: a digest of every batch trained so far, in order.

Two trainings end with the same tensors only when they saw the same batches in the same order, each once. So a file
tells whether a training that was killed and continued lost or repeated a step.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterable

from wan22lora.rehearsal.training_items import Batch


class Learned:
    """The weights of one training."""

    def __init__(self, digest: str) -> None:
        self.digest = digest

    def learn(self, batches: Iterable[tuple[int, Batch]]) -> None:
        """An optimizer step on these batches, each with its number."""
        digest = hashlib.sha256(self.digest.encode())
        for number, batch in batches:
            digest.update(f"{number} {' '.join(item.name for item in batch)}\n".encode())
        self.digest = digest.hexdigest()

    @property
    def averaged(self) -> str:
        return hashlib.sha256(f"average {self.digest}".encode()).hexdigest()


def nothing(seed: int) -> str:
    """The digest before the first step."""
    return hashlib.sha256(f"seed {seed}".encode()).hexdigest()


def tensor(hexadecimal: str, stored: str, shape: tuple[int, ...]) -> bytes:
    """Small numbers that every dtype of `stored` (as safetensors spells it) holds exactly."""
    count = math.prod(shape)
    digest = bytes.fromhex(hexadecimal)
    values = [digest[index % len(digest)] / 4096 for index in range(count)]
    if stored == "F16":
        return struct.pack(f"<{count}e", *values)
    data = struct.pack(f"<{count}f", *values)
    if stored == "BF16":
        return b"".join(data[start + 2 : start + 4] for start in range(0, len(data), 4))
    return data
