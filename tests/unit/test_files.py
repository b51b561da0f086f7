"""What a disk refuses, in words."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from wan22lora.files import refusal

from .conftest import as_nobody


def test_a_closed_folder_is_told_with_the_command_that_shows_whose_it_is(tmp_path: Path) -> None:
    closed = tmp_path / "a folder"
    closed.mkdir(mode=0)
    with as_nobody(), pytest.raises(PermissionError) as raised:
        os.listdir(closed)  # noqa: PTH208
    told = refusal(raised.value)
    assert told is not None
    assert str(told).startswith(f"{closed}: Permission denied\n→ namei -l '{closed}'")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOENT, "No such file or directory", "a"),
        OSError(errno.EBADF, "Bad file descriptor", "a"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("no number"),
    ],
    ids=str,
)
def test_what_may_be_a_mistake_of_ours_is_no_refusal(error: OSError) -> None:
    assert refusal(error) is None
