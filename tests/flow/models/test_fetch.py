"""The real huggingface_hub against a hub that misbehaves."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from wan22lora.errors import Interrupted, MachineError
from wan22lora.files import read_json
from wan22lora.models.arriving import Arrival, is_arriving
from wan22lora.models.catalogue import CATALOGUE, ModelFile, files_of
from wan22lora.models.part import part_size
from wan22lora.models.state import standing

from .conftest import Heard, Machine
from .hub_server import COMMIT, Content, Fault, Hosted

REPOSITORY = "someone/weights"
SIZE = 3_500_000
BYTES = random.Random(7).randbytes(SIZE)


def offered(machine: Machine, name: str = "vae", content: Content | None = None) -> ModelFile:
    """A catalogue entry, and its file on the hub."""
    entry = next(file for file in CATALOGUE if file.name == name)
    content = content or Content(BYTES)
    entry = replace(
        entry,
        repository=REPOSITORY,
        revision=COMMIT,
        size=content.size,
        sha256=content.sha256,
    )
    machine.hub.add(entry.repository, entry.path, Hosted(content))
    return entry


def parts_in(folder: Path) -> list[str]:
    return [
        path.name
        for path in folder.rglob("*")
        if path.name.endswith((".part", ".lock")) and "manifest" not in path.name
    ]


def test_a_file_arrives_in_comfyuis_layout_and_is_recorded(machine: Machine) -> None:
    file = offered(machine)
    (path,) = machine.fetch(file)
    assert path == machine.models / "vae/wan_2.1_vae.safetensors"
    assert path.read_bytes() == BYTES
    assert parts_in(machine.models) == []
    (record,) = read_json(machine.models / "manifest.json")["files"].values()
    assert (record["revision"], record["size"], record["sha256"]) == (COMMIT, SIZE, file.sha256)
    assert standing(machine.models, file).state == "here"


def test_a_second_fetch_asks_the_hub_nothing(machine: Machine) -> None:
    file = offered(machine)
    machine.fetch(file)
    asked = len(machine.hub.requests)
    assert machine.fetch(file) == ()
    assert len(machine.hub.requests) == asked


def test_files_arrive_one_after_the_other_in_the_order_in_which_work_needs_them(machine: Machine) -> None:
    for entry in files_of("t2v-A14B"):
        machine.hub.add(entry.repository, entry.path, Hosted(Content(entry.name.encode()), entry.revision or COMMIT))
    machine.fetch(*(replace(entry, sha256=None, size=10) for entry in files_of("t2v-A14B")))
    assert list(dict.fromkeys(title.split()[0] for title in machine.heard.titles)) == [
        "vae", "t5", "tokenizer", "t2v-high", "t2v-low"
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_a_connection_cut_at_a_random_byte_is_continued_there(machine: Machine, seed: int) -> None:
    file = offered(machine)
    cuts = [random.Random(seed + number).randrange(SIZE) for number in range(3)]
    machine.hub.cdn_faults.extend(Fault(cut_after=cut) for cut in cuts)
    (path,) = machine.fetch(file)
    assert path.read_bytes() == BYTES
    assert machine.heard.bytes == SIZE


def test_a_large_file_cut_five_times_arrives_whole(machine: Machine) -> None:
    size = 1 << 28
    content = Content(BYTES, block=random.Random(3).randbytes(997_003), size=size)
    file = offered(machine, content=content)
    machine.hub.cdn_faults.extend(Fault(cut_after=share * size // 7) for share in (1, 2, 1, 1, 1))
    (path,) = machine.fetch(file)
    assert path.stat().st_size == size
    starts = [request.headers.get("Range", request.headers.get("range")) for request in machine.hub.sent_to("cdn")]
    assert starts[0] is None
    assert len(starts) == 6
    assert all(start is not None for start in starts[1:])
    assert standing(machine.models, file).state == "here"


def test_what_an_interrupted_fetch_has_brought_is_kept(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    file = offered(machine)

    def interrupt(self: Heard, count: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Heard, "advance", interrupt)
    with pytest.raises(Interrupted, match="kept") as stopped:
        machine.fetch(file)
    assert stopped.value.fix == f"wan22lora models fetch {file.name} goes on from there"
    kept = part_size(machine.models / file.relative)
    assert kept >= 1 << 20
    assert standing(machine.models, file).arrived == kept
    monkeypatch.setattr(Heard, "advance", lambda self, count: None)
    (path,) = machine.fetch(file)
    assert path.read_bytes() == BYTES
    assert machine.hub.sent_to("cdn")[-1].headers["Range"] == f"bytes={kept}-"


def test_a_file_that_arrives_changed_is_fetched_again(machine: Machine) -> None:
    file = offered(machine)
    machine.hub.cdn_faults.append(Fault(flip=2_000_000))
    (path,) = machine.fetch(file)
    assert path.read_bytes() == BYTES
    assert "other contents" in machine.heard.text


def test_a_file_that_always_arrives_changed_never_counts(machine: Machine) -> None:
    file = offered(machine)
    machine.hub.cdn_faults.extend([Fault(flip=5), Fault(flip=5)])
    with pytest.raises(MachineError, match="other contents") as caught:
        machine.fetch(file)
    assert caught.value.fix
    assert not (machine.models / file.relative).exists()
    assert part_size(machine.models / file.relative) == 0


def test_a_small_file_is_checked_by_gits_hash(machine: Machine) -> None:
    entry = replace(offered(machine), sha256=None)
    machine.hub.add(REPOSITORY, entry.path, Hosted(Content(b"{}" * 50), large=False))
    machine.hub.hub_faults.extend([None, Fault(flip=3)])
    (path,) = machine.fetch(entry)
    assert path.read_bytes() == b"{}" * 50
    assert "other contents" in machine.heard.text


def test_a_file_sent_too_short_is_not_taken(machine: Machine) -> None:
    file = offered(machine)
    machine.hub.cdn_faults.extend([Fault(announce=1_000_000)] * 30)
    with pytest.raises(MachineError, match="vae was not fetched"):
        machine.fetch(file)
    assert not (machine.models / file.relative).exists()


def test_a_server_that_sends_the_whole_instead_of_the_rest_does_no_harm(machine: Machine) -> None:
    file = offered(machine)
    machine.hub.cdn_faults.extend([Fault(cut_after=2_000_000), Fault(ignore_range=True)])
    (path,) = machine.fetch(file)
    assert path.read_bytes() == BYTES


def test_an_address_that_has_become_too_old_is_asked_for_again(machine: Machine) -> None:
    file = offered(machine)
    machine.hub.cdn_faults.extend([Fault(cut_after=2_000_000), Fault(status=403)])
    (path,) = machine.fetch(file)
    assert path.read_bytes() == BYTES
    assert len(machine.hub.sent_to("hub", "HEAD")) >= 2


def test_too_many_requests_are_waited_out_as_long_as_the_hub_says(machine: Machine) -> None:
    file = offered(machine)
    machine.hub.hub_faults.extend([Fault(status=429, headers={"Retry-After": "17"})])
    machine.fetch(file)
    assert 17 in machine.slept or not machine.slept  # 0.34 waits by itself


def test_nobody_waits_for_an_hour(machine: Machine) -> None:
    file = offered(machine)
    machine.hub.hub_faults.extend([Fault(status=429, headers={"Retry-After": "3600"})] * 10)
    with pytest.raises(MachineError, match="60 minutes"):
        machine.fetch(file)


def test_a_hub_that_fails_is_tried_again_with_growing_pauses(machine: Machine) -> None:
    file = offered(machine)
    machine.hub.hub_faults.extend([Fault(status=500), Fault(status=502)])
    machine.fetch(file)
    assert machine.slept == [1, 2]


@pytest.mark.parametrize(
    ("fault", "token", "told"),
    [
        (Fault(status=404, headers={"X-Error-Code": "EntryNotFound"}), None, "has no split_files/vae"),
        (Fault(status=404, headers={"X-Error-Code": "RevisionNotFound"}), None, "no longer has this revision"),
        (Fault(status=401), "hf_secret", "does not accept the token of HF_TOKEN"),
        (Fault(status=401, headers={"X-Error-Code": "RepoNotFound"}), None, "shows no repository"),
        (Fault(status=403, headers={"X-Error-Code": "GatedRepo"}), "hf_secret", "accepted its terms"),
    ],
)
def test_a_refusal_is_told_in_plain_words_with_the_way_out(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, fault: Fault, token: str | None, told: str
) -> None:
    file = offered(machine)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    machine.hub.hub_faults.extend([fault] * 10)
    with pytest.raises(MachineError, match=told) as caught:
        machine.fetch(file)
    assert caught.value.fix
    assert "hf_secret" not in str(caught.value)
    assert machine.slept == []


def test_a_hub_out_of_reach_is_said_so(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    file = offered(machine)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(MachineError, match=r"127\.0\.0\.1:9 cannot be reached") as caught:
        machine.fetch(file)
    assert "HF_ENDPOINT" in caught.value.fix
    assert machine.slept == [1, 2, 4]


def test_the_token_goes_to_the_hub_and_to_nobody_else(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    file = offered(machine)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    machine.hub.cdn_faults.append(Fault(cut_after=2_000_000))
    machine.fetch(file)
    assert all("hf_secret" in str(request.headers) for request in machine.hub.sent_to("hub"))
    assert not any("hf_secret" in str(request.headers) for request in machine.hub.sent_to("cdn"))
    assert "hf_secret" not in machine.heard.text


def test_another_file_than_the_pinned_one_is_not_even_begun(machine: Machine) -> None:
    file = replace(offered(machine), sha256="0" * 64)
    with pytest.raises(MachineError, match="offers another file"):
        machine.fetch(file)
    assert machine.hub.sent_to("cdn") == []


def test_without_a_pin_the_first_fetch_decides_the_revision(machine: Machine) -> None:
    file = replace(offered(machine), revision=None, sha256=None)
    (path,) = machine.fetch(file)
    path.write_bytes(b"cut short")
    machine.hub.add(REPOSITORY, file.path, Hosted(Content(b"a newer file"), commit="b" * 40))
    with pytest.raises(MachineError, match="no longer has this revision"):
        machine.fetch(file)
    machine.hub.add(REPOSITORY, file.path, Hosted(Content(BYTES)))
    machine.fetch(file)
    assert path.read_bytes() == BYTES


def lying(machine: Machine, file: ModelFile, content: bytes) -> Path:
    """The file's place with something else in it."""
    path = machine.models / file.relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    assert standing(machine.models, file).state == "wrong"
    return path


def test_a_file_cut_short_gives_its_place_to_the_whole_one_and_is_kept_beside_it(machine: Machine) -> None:
    file = offered(machine)
    path = lying(machine, file, BYTES[:1000])
    machine.fetch(file)
    kept = path.with_name(f"{path.name}.previous")
    assert path.read_bytes() == BYTES
    assert kept.read_bytes() == BYTES[:1000]
    assert f"what was there is kept (1.0 kB): {kept}" in machine.heard.text
    assert f"rm {kept}" in machine.heard.text


def test_what_is_kept_is_never_overwritten(machine: Machine) -> None:
    file = offered(machine)
    for content in (b"first", b"second", b"third"):
        path = lying(machine, file, content)
        (machine.models / "manifest.json").unlink(missing_ok=True)
        machine.fetch(file)
    kept = {place.name.removeprefix(path.name): place.read_bytes() for place in path.parent.glob("*.previous*")}
    assert kept == {".previous": b"first", ".previous-2": b"second", ".previous-3": b"third"}


def test_a_file_that_appears_while_it_is_fetched_is_kept(machine: Machine) -> None:
    file = offered(machine)
    path = machine.models / file.relative

    def appears(sent: int) -> None:
        if sent < SIZE:
            path.write_bytes(b"mine")

    machine.hub.while_sending = appears
    machine.fetch(file)
    assert path.read_bytes() == BYTES
    assert path.with_name(f"{path.name}.previous").read_bytes() == b"mine"


def test_a_link_gives_its_place_away_and_the_file_behind_it_stays(machine: Machine, tmp_path: Path) -> None:
    file, elsewhere = offered(machine), tmp_path / "mine.safetensors"
    path = machine.models / file.relative
    path.parent.mkdir(parents=True)
    elsewhere.write_bytes(b"no VAE")
    path.symlink_to(elsewhere)
    machine.fetch(file)
    assert elsewhere.read_bytes() == b"no VAE"
    assert not path.is_symlink()
    assert path.read_bytes() == BYTES
    assert list(path.parent.glob("*.previous*")) == []
    assert f"{path.name} was a link to {elsewhere}, which stays" in machine.heard.text


def test_a_wrong_file_under_another_of_its_names_stays_where_it_is(machine: Machine) -> None:
    file = offered(machine)
    other = machine.models / file.file_name
    other.parent.mkdir(parents=True)
    other.write_bytes(b"no VAE")
    (path,) = machine.fetch(file)
    assert other.read_bytes() == b"no VAE"
    assert path.read_bytes() == BYTES
    assert "kept" not in machine.heard.text


def test_nothing_is_moved_where_the_fetch_does_not_come_to_its_end(machine: Machine) -> None:
    file = offered(machine)
    path = lying(machine, file, b"cut")
    machine.hub.cdn_faults.extend([Fault(flip=5), Fault(flip=5)])
    with pytest.raises(MachineError, match="other contents"):
        machine.fetch(file)
    assert path.read_bytes() == b"cut"


def test_a_disk_without_room_for_both_names_the_wrong_file_to_remove(machine: Machine) -> None:
    file = replace(offered(machine), size=10**16)
    path = lying(machine, file, b"cut")
    with pytest.raises(MachineError) as caught:
        machine.fetch(file)
    assert f"rm {path}  frees 0.0 kB: it is cut short" in str(caught.value)
    assert path.read_bytes() == b"cut"


def test_a_disk_that_is_too_small_is_known_before_anything_is_fetched(machine: Machine) -> None:
    file = replace(offered(machine), size=10**16)
    with pytest.raises(MachineError) as caught:
        machine.fetch(file)
    assert "GB are missing" in str(caught.value)
    assert machine.hub.requests == []


def test_a_disk_that_fills_up_ends_the_fetch_and_keeps_what_is_there(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wan22lora.models.part import Part

    file, write = offered(machine), Part.write

    def full(self: Part, data: bytes) -> int:
        if self.length > 1_500_000:
            raise OSError(28, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(Part, "write", full)
    with pytest.raises(MachineError, match="is full"):
        machine.fetch(file)
    monkeypatch.undo()
    assert part_size(machine.models / file.relative) > 1_500_000


def test_everything_that_will_be_fetched_is_arriving_from_the_start(machine: Machine) -> None:
    first, second = offered(machine), offered(machine, "t2v-high")
    places = [machine.models / first.relative, machine.models / second.relative]
    seen: list[list[bool]] = []
    machine.hub.while_sending = lambda sent: seen.append([is_arriving(place) for place in places])
    assert [is_arriving(place) for place in places] == [False, False]
    machine.fetch(first, second)
    assert seen[0] == [True, True]
    assert seen[-1] == [False, True]
    assert [is_arriving(place) for place in places] == [False, False]


def test_a_file_that_another_process_fetches_is_waited_for(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    file = offered(machine)
    place = machine.models / file.relative
    place.parent.mkdir(parents=True)
    other = Arrival(place)
    assert other.take()
    assert standing(machine.models, file).state == "arriving"
    take = Arrival.take

    def meanwhile(self: Arrival, seconds: float = 0) -> bool:
        if seconds == 1:
            place.write_bytes(BYTES)
            machine.models.joinpath("manifest.json").write_text(
                f'{{"files": {{"{file.relative}": {{"repository": "", "path": "", "revision": "", "size": {SIZE}, '
                f'"sha256": "", "at": ""}}}}}}'
            )
            other.leave(complete=True)
        return take(self, seconds)

    monkeypatch.setattr(Arrival, "take", meanwhile)
    assert machine.fetch(file) == ()
    assert "another process" in machine.heard.text
    assert machine.hub.requests == []
