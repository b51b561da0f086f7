"""The contact sheet in a real browser: it is drawn, it filters, it fits a phone. Skipped where there is no Chromium."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image

from ..every_finding import HOSTILE_NAME, make
from .conftest import Place

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here to look at the contact sheet")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
HANDS = """
const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const type = (text) => {
  document.activeElement.value = text;
  document.activeElement.dispatchEvent(new Event("input"));
};
const click = (selector) => document.querySelector(selector).click();
"""
GROUND = (245, 244, 241)
DARK = (22, 21, 20)


@dataclass(frozen=True)
class Browser:
    sheet: Path

    def dom(self, choice: str = "") -> str:
        """The page as it stands after its script, with something chosen in the address."""
        return self._run(choice, "--dump-dom")

    def after(self, acts: str) -> str:
        """The page after somebody acted: a copy whose policy lets one more script in, which clicks and types."""
        text = self.sheet.read_text(encoding="utf-8")
        policy = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
        assert len(policy.findall(text)) == 1
        acting = self.sheet.with_name("acting.html")
        acting.write_text(f"{policy.sub('', text)}<script>{{{HANDS} {acts}}}</script>", encoding="utf-8")
        return Browser(acting)._run("", "--virtual-time-budget=2000", "--dump-dom")

    def picture(self, choice: str = "", size: tuple[int, int] = (1280, 1000), *flags: str) -> Image.Image:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "screen.png"
            self._run(choice, f"--screenshot={file}", f"--window-size={size[0]},{size[1]}", *flags)
            with Image.open(file) as picture:
                shown: Image.Image = picture.convert("RGB")
        return shown

    def _run(self, choice: str, *flags: str) -> str:
        assert CHROMIUM is not None
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            address = f"file://{quote(str(self.sheet))}#{choice}"
            argv = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *flags, address]
            return subprocess.run(argv, capture_output=True, timeout=90, check=True).stdout.decode()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    folder = tmp_path_factory.mktemp("browser")
    run = make(folder)
    place = Place(run.parent, {"HOME": str(folder), "PYTHONPATH": str(Path(__file__).parents[2] / "src"), "PATH": ""})
    done = place.wan22lora("check", "run.yaml", "--sheet", "../sheet.html")
    assert done.exit_code == 3, done.output
    assert "The contact sheet is in ../sheet.html" in done.stdout
    return Browser(folder / "sheet.html")


def cards(dom: str) -> list[str]:
    return re.findall(r'<article class="card" data-name="([^"]*)"', dom)


def test_all_are_shown_a_page_at_a_time(browser: Browser) -> None:
    dom = browser.dom()
    count = int(re.findall(r">(\d+) shown<", dom)[0])
    assert count > 60
    assert len(cards(dom)) == 60
    assert f"page 1 of {-(-count // 60)}" in dom
    assert len(cards(browser.dom("page=2"))) == count - 60
    assert dom.count("data:image/jpeg") > 50


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("kind=rotated", {"rotated.jpg"}),
        ("kind=alike&level=warning&q=SAME", {"same.png"}),
        ("bucket=256×64", {"long.png"}),
        ("q=red+sky", {"rotated.jpg"}),
        ("kind=clip-still", {"still.mp4"}),
        ("q=nobody+says+this", set()),
    ],
)
def test_what_is_chosen_in_the_address_is_shown(browser: Browser, choice: str, names: set[str]) -> None:
    dom = browser.dom(quote(choice, safe="=&+"))
    assert set(cards(dom)) == names
    if "kind=" in choice:
        kind = re.findall("kind=([a-z-]+)", choice)[0]
        assert re.search(rf'data-kind="{kind}" aria-pressed="true"', dom)
        told = dom[dom.index('id="told"') : dom.index('id="cards"')]
        assert f'data-of="{kind}"' in told


def test_clicks_and_keys_do_what_the_address_does(browser: Browser) -> None:
    chip = "click('button[data-kind=rotated]');"
    assert cards(browser.after(chip)) == ["rotated.jpg"]
    assert len(cards(browser.after(f"{chip} setTimeout(() => {{ {chip} }}, 100);"))) == 60
    assert len(cards(browser.after("click('button[data-level=none]');"))) == 3
    assert "page 2 of 2" in browser.after("press('n');")
    assert "page 1 of 2" in browser.after("press('n'); setTimeout(() => press('p'), 100);")
    assert cards(browser.after("press('/'); type('red sky');")) == ["rotated.jpg"]
    assert len(cards(browser.after("press('/'); type('red sky'); press('Escape');"))) == 60
    pressed = re.findall('data-kind="([a-z-]+)" aria-pressed="true"', browser.after("click('.card .said button');"))
    assert len(pressed) == 1


def test_a_picture_shows_its_crop_its_caption_and_its_findings(browser: Browser) -> None:
    dom = browser.dom("kind=cropped")
    crop = re.findall(r'class="crop" style="left: ([\d.]+)%; top: ([\d.]+)%; width: ([\d.]+)%; height: ([\d.]+)%', dom)
    assert crop == [("30", "0", "40", "100")]
    assert "this is 'long'" in dom
    rotated = browser.dom("kind=rotated")
    assert "trains as it lies here" in rotated


def test_a_script_in_a_name_or_caption_stays_text(browser: Browser) -> None:
    dom = browser.dom("q=document.title")
    assert "<title>every · contact sheet</title>" in dom
    article = dom[dom.index("<article") : dom.index("</article>")]
    assert "&lt;script&gt;document.title='taken'" in article
    assert "<script" not in article
    assert "onerror" not in re.sub(r">[^<]*<", "><", article)
    assert HOSTILE_NAME.split("&")[0].replace("<", "&lt;").replace(">", "&gt;") in article


def test_a_single_page_has_nothing_to_turn(browser: Browser) -> None:
    look = "document.title = getComputedStyle(document.getElementById('pages')).display;"
    assert "<title>flex</title>" in browser.after(look)
    assert "<title>none</title>" in browser.after(f"press('/'); type('red sky'); setTimeout(() => {{ {look} }}, 100);")


def test_the_sheet_is_drawn(browser: Browser) -> None:
    picture = browser.picture("kind=cropped")
    assert picture.size == (1280, 1000)
    assert colours(picture) > 500
    top, below = picture.crop((0, 0, 1280, 60)), picture.crop((0, 620, 400, 1000))
    assert colours(top) > 10
    assert colours(below) > 200
    assert ground(picture, GROUND) > 0.5


def test_the_rotated_picture_lies_on_its_side(browser: Browser) -> None:
    """Its red sky is at its left, where the pixels are stored, not above."""
    picture = browser.picture("kind=rotated", (1280, 1400))
    red = [(x, y) for x in range(0, 400, 4) for y in range(600, 1400, 4) if is_red(picture.getpixel((x, y)))]
    assert len(red) > 100
    across, down = sorted(x for x, _ in red), sorted(y for _, y in red)
    assert down[-1] - down[0] > 150
    assert across[len(across) // 2] < 80


@pytest.mark.parametrize(("flags", "colour"), [((), GROUND), (("--force-dark-mode",), DARK)], ids=["light", "dark"])
def test_it_fits_a_phone_in_light_and_dark(browser: Browser, flags: tuple[str, ...], colour: tuple[int, ...]) -> None:
    picture = browser.picture("kind=trigger-missing", (390, 3000), *flags)
    assert colours(picture) > 500
    # Nothing but the row of kinds, which scrolls, and lines reach into the margin at the right.
    assert ground(picture.crop((382, 0, 390, 3000)), colour) > 0.9


def colours(picture: Image.Image) -> int:
    return len(picture.getcolors(picture.width * picture.height) or ())


def ground(picture: Image.Image, colour: tuple[int, ...]) -> float:
    """The share of the page's own colour."""
    counts = {found: count for count, found in picture.getcolors(picture.width * picture.height) or ()}
    return counts.get(colour, 0) / (picture.width * picture.height)


def is_red(pixel: object) -> bool:
    return isinstance(pixel, tuple) and pixel[0] > 200 and max(pixel[1:3]) < 60
