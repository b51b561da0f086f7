from __future__ import annotations

from pathlib import Path

from wan22lora.machine.space import space_at


def test_a_folder_that_is_not_there_yet_has_the_room_of_the_nearest_above(tmp_path: Path) -> None:
    here, later = space_at(tmp_path), space_at(tmp_path / "runs" / "a")
    assert here is not None
    assert later is not None
    assert later.existing == tmp_path
    assert (later.device, later.total) == (here.device, here.total)
    assert 0 < later.free <= later.total
    assert later.writable


def test_a_file_in_the_way_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    space = space_at(tmp_path / "runs" / "a")
    assert space is not None
    assert space.existing == tmp_path
