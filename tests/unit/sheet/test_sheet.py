"""The contact sheet shows everything that `check` can find, and nothing that a caption or a file name smuggles in."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wan22lora.check import seeing
from wan22lora.check.checked import Checked
from wan22lora.check.clip_frames import frames_of
from wan22lora.check.examine import examine
from wan22lora.check.forecast import forecast_of_folder
from wan22lora.check.pictures import fit
from wan22lora.check.remark import Remark, together
from wan22lora.cli.app import run
from wan22lora.dataset.scan import Scan, scan
from wan22lora.dataset.source import Item, Source
from wan22lora.errors import SpecError
from wan22lora.kinds import TITLES
from wan22lora.sheet.content import Content, Entry, content_of, crop_of
from wan22lora.sheet.page import BLOCK, page
from wan22lora.sheet.thumbnails import thumbnails
from wan22lora.sheet.write import write_sheet

from ...every_finding import HOSTILE_CAPTION, HOSTILE_NAME, make

NOT_BY_COMMAND = {"cache-glob", "not-decoded", "resolution-patches", "resolution-small"}
"""What run.yaml refuses before datasets are looked at."""

TAGS = set(
    "html head meta title style body header h1 h2 p details summary ul li span nav div input button select option"  # noqa: SIM905
    " main noscript script".split()
)


@dataclass
class Page(HTMLParser):
    """What is in the file without a browser."""

    file: Path
    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    text: str = ""
    inside: bool = False
    """Whether a script or style is being read."""

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.file.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        self.inside = tag in ("script", "style")
        if self.inside:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts[-1] += data
        else:
            self.text += data

    def data(self, name: str) -> Any:
        inside = [attributes for tag, attributes in self.elements if tag in ("script", "style")]
        (index,) = [index for index, attributes in enumerate(inside) if attributes.get("id") == name]
        return json.loads(self.scripts[index])

    @property
    def entries(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.data("content")["entries"]
        return found

    def thumbnails(self, entry: dict[str, Any]) -> list[Image.Image]:
        pictures = self.data(f"thumbnails-{entry['index'] // BLOCK}")[entry["index"] % BLOCK]
        return [Image.open(io.BytesIO(base64.b64decode(each))) for each in pictures]


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Page:
    place = tmp_path_factory.mktemp("sheet")
    run_file, file = make(place), place / "sheet.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(run_file.parent)
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        patch.setenv("WAN22LORA_MACHINE", str(place / "machine.yaml"))
        patch.setattr(sys, "stdout", io.StringIO())
        assert run(["check", "run.yaml", "--sheet", str(file), "--price", "2.50/h"]) == 3
    return Page(file)


def test_every_kind_of_finding_is_on_the_sheet(every: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {attributes["data-of"] for _, attributes in every.elements if "data-of" in attributes}
    assert shown == TITLES.keys() - NOT_BY_COMMAND
    folder, cache = tmp_path / "pictures", tmp_path / "cache [1]"
    folder.mkdir()
    Image.new("RGB", (64, 64)).save(folder / "a.png")
    (folder / "a.txt").write_text("one of thousands", encoding="utf-8")
    monkeypatch.setattr(seeing, "CORE_SECONDS", 0.0)
    usual: dict[str, Any] = {"index": 0, "kind": "images", "directory": folder, "jsonl": None}
    sources = [
        Source(**usual, cache=cache, resolution=(16, 16)),
        Source(**usual, cache=cache, resolution=(100, 100), bucket=False),
    ]
    write_sheet(tmp_path / "sheet.html", checked(*sources))
    rest = Page(tmp_path / "sheet.html")
    assert {attributes["data-of"] for _, attributes in rest.elements if "data-of" in attributes} >= NOT_BY_COMMAND


def checked(*sources: Source) -> Checked:
    scans = tuple(scan(source) for source in sources)
    remarks = examine(scans, [finding for each in scans for finding in each.findings])
    return Checked("a run", scans, scans, remarks, forecast_of_folder(scans))


def test_every_picture_and_clip_bears_its_own_findings(every: Page) -> None:
    remarks = every.data("content")["remarks"]
    by_name: dict[str, set[str]] = {}
    for entry in every.entries:
        by_name.setdefault(entry["name"], set()).update(remarks[number]["kind"] for number, _ in entry["told"])
    assert by_name["rotated.jpg"] == {"rotated"}
    assert by_name["no caption.png"] == {"caption-missing"}
    assert by_name["cut off.jpg"] == {"unreadable"}
    assert by_name[".hidden.png"] == {"hidden"}
    assert by_name["unseen.Png"] == {"overlooked"}
    assert by_name["no text \\udcff.png"] == {"name-not-text"}
    assert by_name["transparent.png"] == {"transparent"}
    assert by_name["still.mp4"] >= {"clip-still", "clip-length"}
    assert {"clip-blank"} <= by_name["black.mp4"]
    assert by_name["long.png"] == {"cropped"}
    assert "moving.mp4" in by_name
    untouched = [entry for entry in every.entries if not entry["told"]]
    assert untouched == every.entries[len(every.entries) - len(untouched) :]
    order = ["error", "warning", "note"]
    told = [[order.index(remarks[number]["level"]) for number, _ in entry["told"]] for entry in every.entries]
    levels = [min(each) for each in told if each]
    assert levels == sorted(levels)


def test_what_is_said_of_one_file_stands_beside_it(every: Page) -> None:
    told = {entry["name"]: [words for _, words in entry["told"]] for entry in every.entries}
    assert told["long.png"] == ["1280×128, 60%"]
    assert "twice.jpg = twice.png" in told["twice.png"]
    facts = {entry["name"]: entry["facts"] for entry in every.entries}
    assert facts["long.png"] == "fit · 1280×128 → bucket 256×64"
    assert facts["no caption.png"].endswith("not trained")
    assert facts["moving.mp4"].endswith("bucket 144×112×9")


def test_a_rotated_picture_lies_as_it_trains(every: Page) -> None:
    (entry,) = [entry for entry in every.entries if entry["name"] == "rotated.jpg"]
    (picture,) = every.thumbnails(entry)
    assert picture.size == (160, 96)
    assert not picture.getexif()
    red, green, blue = picture.convert("RGB").resize((16, 1)).crop((0, 0, 1, 1)).tobytes()
    assert red > 150 > 90 > max(green, blue)


def test_clips_show_several_frames_and_what_is_broken_none(every: Page) -> None:
    shown = {entry["name"]: len(every.thumbnails(entry)) for entry in every.entries}
    assert shown["moving.mp4"] == shown["begins black.mp4"] == 4
    assert shown["damaged.png"] == 0
    assert shown["no caption.png"] == 1


def test_the_links_lead_to_the_pictures(every: Page) -> None:
    for entry in every.entries:
        if "gone" not in entry["name"]:
            path = (
                os.fsencode(every.file.parent)
                + b"/"
                + unquote(entry["link"], "utf-8", "surrogateescape").encode("utf-8", "surrogateescape")
            )
            assert os.path.lexists(path), entry["link"]


def test_nothing_in_names_and_captions_becomes_part_of_the_page(every: Page) -> None:
    tags = {tag for tag, _ in every.elements}
    assert tags <= TAGS
    names = {name for _, attributes in every.elements for name in attributes}
    assert not any(name.startswith("on") for name in names)
    assert not names & {"src", "href"}
    plain = [attributes for tag, attributes in every.elements if tag == "script" and "type" not in attributes]
    assert plain == [{}]
    (entry,) = [entry for entry in every.entries if entry["caption"] == HOSTILE_CAPTION]
    assert entry["name"] == HOSTILE_NAME.replace("/", "")
    assert every.file.read_text(encoding="utf-8").count("<script>") == 1


def test_the_policy_allows_this_script_and_style_only(every: Page) -> None:
    import hashlib

    (policy,) = [a["content"] for tag, a in every.elements if tag == "meta" and "http-equiv" in a]
    assert policy is not None
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in every.scripts]
    assert re.fullmatch(r"default-src 'none'; img-src data:; style-src 'sha256-(.+)'; script-src 'sha256-(.+)'", policy)
    assert f"style-src 'sha256-{digests[0]}'" in policy
    assert f"script-src 'sha256-{digests[-1]}'" in policy
    assert "http" not in every.scripts[0] + every.scripts[-1]


def test_the_summary_needs_no_script(every: Page) -> None:
    assert "41 pictures and 8 clips in 16 datasets" in every.text
    assert re.search(r"\d+ errors, \d+ warnings, \d+ of advice", every.text)
    assert "batches an epoch" in every.text
    assert "turns the pixels themselves" in every.text
    assert "cost:" in every.text


side = st.integers(16, 4000)


@given(size=st.tuples(side, side), bucket=st.tuples(side, side))
def test_the_crop_is_what_the_bucket_leaves(size: tuple[int, int], bucket: tuple[int, int]) -> None:
    left, top, width, height = crop_of(size, bucket)
    assert min(left, top) >= 0
    assert max(left + width, top + height) <= 1 + 1e-9
    assert max(width, height) == pytest.approx(1)
    assert size[0] * width / (size[1] * height) == pytest.approx(bucket[0] / bucket[1])
    # Rounded to whole pixels as musubi-tuner rounds, the share that is lost is nearly the same.
    assert 1 - width * height == pytest.approx(fit(size, bucket)[1], abs=0.04)


def test_what_is_held_out_says_so(folder: Path, images: Callable[..., Source]) -> None:
    for name in ("a", "b"):
        Image.new("RGB", (128, 128), (9, 9, 9)).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(f"zxq {name}", encoding="utf-8")
    result = checked(images())
    trained = (type(result.scans[0])(result.scans[0].source, result.scans[0].items[:1], ()),)
    content = content_of(Checked("", result.scans, trained, (), result.forecast))
    assert {entry.path.name: entry.held_out for entry in content.entries} == {"a.png": False, "b.png": True}


def test_ten_thousand_pictures_are_written_piece_by_piece() -> None:
    entries = tuple(
        Entry(Path(f"/p/{n}.png"), 0, "picture", "a caption", True, False, (960, 960), (960, 960), 1, None, ())
        for n in range(10_000)
    )
    asked = 0

    def thumbnails() -> Iterator[tuple[bytes, ...]]:
        nonlocal asked
        for _ in entries:
            asked += 1
            yield (bytes(4000),)

    pieces = page(Content("", (Path("/p"),), (), entries, ()), thumbnails(), Path("/p"))
    largest = longest_wait = 0
    for piece in pieces:
        longest_wait, asked = max(longest_wait, asked), 0
        if "thumbnails-" in piece[:60]:
            largest = max(largest, len(piece))
    assert longest_wait == BLOCK
    assert largest < 400_000


def test_many_that_look_alike_do_not_name_each_other_beside_each(images: Callable[..., Source]) -> None:
    paths = [images().place / f"{number:04d}.png" for number in range(500)]
    items = tuple(Item(path, path.stem, "zxq", (128, 128), None, None) for path in paths)
    scans = (Scan(images(), items, ()),)
    remark = Remark("alike", "warning", "", "500 pictures look alike", about=(together(paths),))
    content = content_of(Checked("", scans, scans, (remark,), forecast_of_folder(scans)))
    assert max(len(entry.told[0].words) for entry in content.entries) < 200
    assert len("".join(page(content, (), Path("/")))) < 300_000


def test_a_sheet_replaces_a_sheet_and_nothing_else(tmp_path: Path, images: Callable[..., Source]) -> None:
    file = tmp_path / "sheet.html"
    write_sheet(file, checked(images()))
    first = file.read_bytes()
    write_sheet(file, checked(images()))
    assert file.read_bytes() == first
    for text in ("my own page", ""):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(SpecError, match="no contact sheet"):
            write_sheet(file, checked(images()))
        assert file.read_text(encoding="utf-8") == text
    with pytest.raises(SpecError, match="is a folder"):
        write_sheet(tmp_path, checked(images()))
    with pytest.raises(SpecError, match="does not exist"):
        write_sheet(tmp_path / "nowhere" / "sheet.html", checked(images()))


def test_a_sheet_that_fails_half_way_leaves_the_old_one(
    tmp_path: Path, images: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "sheet.html"
    write_sheet(file, checked(images()))
    before = file.read_bytes()

    def fail(*_: object) -> Iterator[tuple[bytes, ...]]:
        raise KeyboardInterrupt

    monkeypatch.setattr("wan22lora.sheet.write.thumbnails", fail)
    with pytest.raises(KeyboardInterrupt):
        write_sheet(file, checked(images()))
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


def test_postscript_under_a_pictures_name_is_not_drawn(
    folder: Path, images: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow would start Ghostscript, and what the file says would be run."""
    from PIL import EpsImagePlugin

    (folder / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    (folder / "a.txt").write_text("zxq", encoding="utf-8")
    started: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *arguments, **_: started.append(arguments))
    content = content_of(checked(images()))
    assert [entry.path.name for entry in content.entries] == ["a.png"]
    assert list(thumbnails(content.entries)) == [()]
    assert frames_of(folder, 4, 64) == ()
    assert started == []
