"""Cache files taken over from elsewhere, and those that nobody knows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from wan22lora.files import write_json
from wan22lora.musubi.safetensors import read_header, write
from wan22lora.plan import contents
from wan22lora.plan.adoption import Offers, caches_beside, manifests_of
from wan22lora.plan.caches import CacheState, cache_state
from wan22lora.plan.contents import Contents
from wan22lora.plan.manifest import Manifest, read_manifest
from wan22lora.run.caching import ARRIVING, begin, settle

Wanted = Mapping[str, str]
"""Stem → content."""


class Run:
    """A run folder whose latents hold what they were made from."""

    def __init__(self, path: Path, *, rehearsal: bool = False) -> None:
        self.path, self.rehearsal = path, rehearsal
        (path / "cache" / "0").mkdir(parents=True)
        write_json(path / "run.json", {"name": path.name, "rehearsal": rehearsal})

    @property
    def folder(self) -> Path:
        return self.path / "cache" / "0"

    def file(self, stem: str) -> Path:
        return self.folder / f"{stem}_0064x0064_wan.safetensors"

    def plan(self, wanted: Wanted, known: tuple[Path, ...] = (), *, force: bool = False) -> CacheState:
        expected = {self.file(stem): {"content": content, "bucket": "64×64"} for stem, content in wanted.items()}
        cache = self.path / "cache"

        def manifests() -> Iterator[tuple[Path, Manifest]]:
            return manifests_of([cache, *caches_beside(self.path, known, rehearsal=self.rehearsal)])

        return cache_state(
            "latents", expected, read_manifest(cache), [self.folder], force=force, offers=Offers(manifests)
        )

    def encode(self, wanted: Wanted) -> set[str]:
        """What a caching step does; returns the stems that were encoded and not taken over."""
        state = self.plan(wanted)
        begin(state, self.path / "cache", Contents())
        made = set()
        for path in state.expected:
            if not path.exists():
                stem = path.name.split("_")[0]
                make(path, wanted[stem])
                made.add(stem)
        settle(state, self.path / "cache", Contents())
        return made

    def held(self) -> dict[str, str]:
        return {path.name.split("_")[0]: read_header(path).metadata["of"] for path in sorted(self.folder.iterdir())}


def make(path: Path, content: str) -> None:
    write(path, {"latents_1x8x8_float32": ("F32", (2,), b"12345678")}, {"of": content})


@pytest.fixture
def runs(tmp_path: Path) -> Callable[[str], Run]:
    return lambda name: Run(tmp_path / "runs" / name)


def test_another_run_over_the_same_pictures_encodes_nothing(runs: Callable[[str], Run]) -> None:
    first, second = runs("first"), runs("second")
    assert first.encode({"a": "one", "b": "two"}) == {"a", "b"}
    assert second.plan({"a": "one", "b": "two"}).why == "2 of 2 files taken over from the run first"
    assert second.encode({"a": "one", "b": "two"}) == set()
    assert second.held() == first.held() == {"a": "one", "b": "two"}
    assert second.file("a").stat().st_ino == first.file("a").stat().st_ino
    assert second.plan({"a": "one", "b": "two"}).why == "all 2 files are current"


def test_it_encodes_what_is_different_and_leaves_the_first_alone(runs: Callable[[str], Run]) -> None:
    first, second = runs("first"), runs("second")
    first.encode({"a": "one", "b": "two"})
    assert second.encode({"b": "changed", "c": "one"}) == {"b"}
    assert second.held() == {"b": "changed", "c": "one"}
    assert first.held() == {"a": "one", "b": "two"}
    first.encode({"b": "changed"})
    assert second.held() == {"b": "changed", "c": "one"}


def test_runs_elsewhere_are_found_when_they_are_known(runs: Callable[[str], Run], tmp_path: Path) -> None:
    far = Run(tmp_path / "far" / "away")
    far.encode({"a": "one"})
    near = runs("near")
    assert near.plan({"a": "one"}).missing
    assert not near.plan({"a": "one"}, (far.path,)).missing
    assert near.plan({"a": "one"}, (far.path,), force=True).missing


def test_a_real_run_takes_nothing_over_from_a_rehearsal(tmp_path: Path) -> None:
    Run(tmp_path / "runs" / "a-rehearsal", rehearsal=True).encode({"a": "one"})
    assert Run(tmp_path / "runs" / "a").plan({"a": "one"}).missing
    assert not Run(tmp_path / "runs" / "b-rehearsal", rehearsal=True).plan({"a": "one"}).missing


@pytest.mark.parametrize("wanted", [{"b": "one", "a": "two"}, {"z": "one"}, {"b": "one", "c": "two"}])
def test_a_run_takes_over_from_itself_what_got_another_name(runs: Callable[[str], Run], wanted: Wanted) -> None:
    run = runs("run")
    run.encode({"a": "one", "b": "two"})
    assert run.encode(wanted) == set()
    assert run.held() == dict(sorted(wanted.items()))


def test_where_there_are_no_links_it_is_copied(runs: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = runs("first"), runs("second")
    first.encode({"a": "one"})

    def refuse(*_: object) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert second.encode({"a": "one"}) == set()
    assert second.held() == {"a": "one"}
    assert second.file("a").stat().st_ino != first.file("a").stat().st_ino


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_another_run_changes_meanwhile_is_not_taken_over(
    when: str, runs: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = runs("first"), runs("second")
    first.encode({"a": "one"})
    state = second.plan({"a": "one"})
    link = os.link

    def meanwhile(source: Path, path: Path) -> None:
        if when == "after":
            link(source, path)
        first.encode({"a": "changed"})
        if when == "before":
            link(source, path)

    monkeypatch.setattr(os, "link", meanwhile)
    assert begin(state, second.path / "cache", Contents()) == [second.file("a")]
    assert not list(second.folder.iterdir())
    assert second.encode({"a": "one"}) == {"a"}


class Killed(BaseException):
    """The machine loses its power."""


def test_killed_at_any_point_of_taking_over_nothing_false_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four files: one stays, two change places, one comes from another run."""
    wanted = {"a": "two", "b": "one", "kept": "kept", "new": "new"}
    monkeypatch.setattr(os, "fsync", lambda _: None)
    for moment in range(200):
        place = tmp_path / str(moment)
        other, run = Run(place / "other"), Run(place / "run")
        other.encode({"x": "new"})
        run.encode({"a": "one", "b": "two", "kept": "kept"})
        left = [moment]

        def dying(call: Callable[..., object], left: list[int] = left) -> Callable[..., object]:
            def called(*arguments: object, **more: object) -> object:
                if not left[0]:
                    raise Killed
                left[0] -= 1
                return call(*arguments, **more)

            return called

        with monkeypatch.context() as patch, suppress(Killed):
            for name in ("link", "replace"):
                patch.setattr(os, name, dying(getattr(os, name)))
            for name in ("unlink", "replace"):
                patch.setattr(Path, name, dying(getattr(Path, name)))
            begin(run.plan(wanted), run.path / "cache", Contents())
        recorded = read_manifest(run.path / "cache").files
        for name, key in recorded.items():
            file = run.path / "cache" / name
            assert not file.exists() or read_header(file).metadata["of"] == key["content"], moment
        run.encode(wanted)
        assert run.held() == wanted, moment
        if left[0]:
            break
    else:
        pytest.fail("it never came to its end")
    assert moment > 10


def test_what_is_not_of_this_run_is_foreign_and_never_removed(runs: Callable[[str], Run]) -> None:
    run = runs("run")
    run.encode({"a": "one", "gone": "two"})
    lora, unknown, torn = run.folder / "my_wan.safetensors", run.file("unknown"), run.file("torn")
    write(lora, {"lora_unet.lora_down.weight": ("F32", (1,), b"1234")}, {})
    make(unknown, "somebody's")
    torn.write_bytes(b"half a file")
    others = [run.folder / name for name in ("notes.txt", "a_0064x0064_hv.safetensors", "lora.safetensors")]
    for path in others:
        path.write_bytes(b"mine")
    state = run.plan({"a": "one", "torn": "three"})
    assert set(state.foreign) == {lora, unknown, torn}
    assert state.outdated == (run.file("gone"),)
    begin(state, run.path / "cache", Contents())
    assert all(path.exists() for path in (lora, unknown, torn, *others))


def test_what_a_killed_caching_left_is_its_own(runs: Callable[[str], Run]) -> None:
    run = runs("run")
    begin(run.plan({"a": "one", "b": "two", "c": "three"}), run.path / "cache", Contents())
    make(run.file("a"), "one")
    run.file("b").write_bytes(b"half a file")
    make(run.file("c"), "three")
    state = run.plan({"a": "one", "b": "two"})
    assert state.foreign == ()
    assert set(state.outdated) == {run.file("a"), run.file("b"), run.file("c")}
    assert set(state.missing) == {run.file("a"), run.file("b")}
    (run.folder / f"{ARRIVING}0").write_bytes(b"left")
    assert run.encode({"a": "one", "b": "two"}) == {"a", "b"}
    assert run.held() == {"a": "one", "b": "two"}


def test_a_file_of_which_only_the_times_changed_is_read_once_more_and_not_twice(
    runs: Callable[[str], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, picture = runs("run"), tmp_path / "a.png"
    picture.write_bytes(b"a picture")
    run.encode({"a": Contents().digest(picture)})
    read: list[Path] = []
    digest = contents.sha256_of

    def counted(path: Path) -> str:
        read.append(path)
        return digest(path)

    monkeypatch.setattr(contents, "sha256_of", counted)
    for _ in range(3):
        seen = Contents(read_manifest(run.path / "cache").contents)
        state = run.plan({"a": seen.digest(picture)})
        assert state.missing == ()
        begin(state, run.path / "cache", seen)
    assert read == [picture]


def test_a_cache_file_that_something_has_written_over_is_encoded_again_in_every_run(
    runs: Callable[[str], Run],
) -> None:
    first, second, third = runs("first"), runs("second"), runs("third")
    first.encode({"a": "one", "b": "two"})
    second.encode({"a": "one", "b": "two"})
    with first.file("a").open("r+b") as file:  # one file, linked into both
        file.write(first.file("b").read_bytes())
    assert third.plan({"a": "one"}).missing == (third.file("a"),)
    for run in (first, second):
        assert run.plan({"a": "one", "b": "two"}).why == "1 of 2 files to encode: written over since it was encoded"
    assert first.encode({"a": "one", "b": "two"}) == {"a"}
    assert second.encode({"a": "one", "b": "two"}) == set()
    assert first.held() == second.held() == {"a": "one", "b": "two"}


def test_a_run_that_was_copied_with_other_times_is_current(runs: Callable[[str], Run], tmp_path: Path) -> None:
    run = runs("run")
    run.encode({"a": "one", "b": "two"})
    for path in run.folder.iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))
    assert run.plan({"a": "one", "b": "two"}).why == "all 2 files are current"
    assert run.encode({"a": "one", "b": "two"}) == set()
    seals = read_manifest(run.path / "cache").seals
    assert {seal[1] for seal in seals.values()} == {1_700_000_000 * 10**9}
