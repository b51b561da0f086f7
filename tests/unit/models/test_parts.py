from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from wan22lora.models.part import Part, drop_other_parts, part_path, part_size


@given(pieces=st.lists(st.binary(max_size=50), max_size=8), stops=st.sets(st.integers(0, 7)), cut=st.integers(0, 200))
def test_a_part_knows_its_hashes_however_it_came_together(pieces: list[bytes], stops: set[int], cut: int) -> None:
    whole = b"".join(pieces)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "part")
        lengths: list[int] = []
        part = Part(path, len(whole), lengths.append)
        for number, piece in enumerate(pieces):
            if number in stops:  # another process goes on
                part.__exit__(None, None, None)
                part = Part(path, len(whole), lengths.append)
            part.write(piece)
        assert (part.length, sum(lengths)) == (len(whole), len(whole))
        assert part.sha256 == hashlib.sha256(whole).hexdigest()
        assert part.git_blob == hashlib.sha1(b"blob %d\0" % len(whole) + whole).hexdigest()
        part.seek(min(cut, len(whole)))
        part.truncate()
        assert part.sha256 == hashlib.sha256(whole[:cut]).hexdigest()
        assert sum(lengths) == len(whole[:cut])
        part.empty()
        part.write(b"new")
        part.to_disk()
        assert path.read_bytes() == b"new"
        part.__exit__(None, None, None)


def test_a_part_of_another_version_is_not_continued(tmp_path: Path) -> None:
    target = tmp_path / "file.safetensors"
    old, new = part_path(target, "a" * 64), part_path(target, "b" * 64)
    old.write_bytes(b"123")
    assert part_size(target) == 3
    drop_other_parts(target, keep=new)
    assert not old.exists()
    assert part_size(target) == 0


def test_a_folder_that_is_not_there_holds_no_part(tmp_path: Path) -> None:
    assert part_size(tmp_path / "no" / "file") == 0
