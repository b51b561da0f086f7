"""`check` says everything at once, changes nothing, and agrees with `train` about errors."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image

from .conftest import Place
from .test_dry_run import tree


def without_home(place: Place) -> dict[str, tuple[int, int]]:
    """What lies in the person's folder; what was seen of the pictures is kept elsewhere, in the cache of the home."""
    return {path: what for path, what in tree(place.path).items() if path.split("/")[0] != "home"}


def test_a_sound_dataset_ends_with_0_and_a_forecast(place: Place) -> None:
    place.write("name: paper\npreset: article-wan22\nimages: pictures\nhardware: 24gb\ntrain: {epochs: 3}\n")
    before = without_home(place)
    done = place.wan22lora("check", "run.yaml", "--price", "2.50/h")
    assert done.exit_code == 0, done.output
    assert "train-high: 54 steps, 18 an epoch" in done.stdout
    assert "cost: about 0.04" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("No errors")
    assert without_home(place) == before


def test_all_errors_are_told_at_once_and_stop_train_too(place: Place) -> None:
    pictures = place.path / "pictures"
    (pictures / "03.txt").unlink()
    (pictures / "05.png").write_bytes(b"no picture")
    done = place.wan22lora("check", "run.yaml")
    assert done.exit_code == 3
    assert "without a caption" in done.stdout
    assert "03.png" in done.stdout
    assert "05.png" in done.stdout
    assert place.wan22lora("train", "run.yaml", "--rehearse").exit_code == 3


def test_warnings_stop_neither(place: Place) -> None:
    (place.path / "pictures" / "03.txt").write_text("paperworld, picture 2", encoding="utf-8")
    done = place.wan22lora("check", "run.yaml")
    assert done.exit_code == 0
    assert "02.png = 03.png" in done.stdout
    assert place.wan22lora("train", "run.yaml", "--rehearse").exit_code == 0


def test_the_text_has_80_columns(place: Place) -> None:
    done = place.wan22lora("check", "run.yaml")
    assert [line for line in done.stdout.splitlines() if len(line) > 80 and "/" not in line] == []


def test_the_json_has_findings_and_forecast(place: Place) -> None:
    (place.path / "pictures" / "03.txt").unlink()
    done = place.wan22lora("check", "run.yaml", "--json", "--price", "3")
    assert done.exit_code == 3
    said = json.loads(done.stdout)
    assert not said["ok"]
    assert said["remarks"][0]["level"] == "error"
    assert said["forecast"]["batches_per_epoch"] == 17
    assert {"trainings", "cache_bytes", "lora_bytes", "state_bytes", "seconds", "cost"} <= set(said["forecast"])


def test_a_folder_needs_no_run_yaml(place: Place) -> None:
    done = place.wan22lora("check", "pictures")
    assert done.exit_code == 0, done.output
    assert "18 batches an epoch" in done.stdout
    assert "run.yaml" in done.stdout
    assert "trainings" not in json.loads(place.wan22lora("check", "pictures", "--json").stdout)["forecast"]


def test_a_folder_of_clips_is_checked_as_clips(place: Place, clips: Path) -> None:
    done = place.wan22lora("check", str(clips))
    assert done.exit_code == 0, done.output
    assert "480×272, 61 frames" in done.stdout or "61 frames" in done.stdout
    assert "12 to 20 clips" in " ".join(done.stdout.split())


def test_an_empty_folder_is_an_error(place: Place) -> None:
    (place.path / "empty").mkdir()
    done = place.wan22lora("check", "empty")
    assert done.exit_code == 3
    assert "no pictures in this folder" in done.stdout


def test_what_cannot_be_read_is_told_as_usual(place: Place) -> None:
    assert place.wan22lora("check", "nothing.yaml").exit_code == 2
    assert place.wan22lora("check", "run.yaml", "--price", "cheap").exit_code == 2
    place.write("name: paper\nimages: pictures\nresolution: x\n")
    assert place.wan22lora("check", "run.yaml").exit_code == 2


def test_a_sheet_is_written_also_where_there_are_errors(place: Place) -> None:
    done = place.wan22lora("check", "run.yaml", "--sheet", "sheet.html")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1].startswith("The contact sheet is in sheet.html")
    first = (place.path / "sheet.html").read_text(encoding="utf-8")
    (place.path / "pictures" / "03.txt").unlink()
    done = place.wan22lora("check", "pictures", "--sheet", "sheet.html", "--json")
    assert done.exit_code == 3
    assert not json.loads(done.stdout)["ok"]
    assert "caption-missing" in (place.path / "sheet.html").read_text(encoding="utf-8") != first


def test_a_sheet_is_refused_before_anything_is_looked_at(place: Place) -> None:
    done = place.wan22lora("check", "run.yaml", "--sheet", "run.yaml")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "run.yaml is there already and is no contact sheet" in done.stderr
    assert (place.path / "run.yaml").read_text(encoding="utf-8").startswith("name: paper")


def in_need_of_mending(place: Place) -> None:
    """The last caption is missing, the first is that of nothing, and one picture lies on its side."""
    pictures = place.path / "pictures"
    for number in range(17, -1, -1):
        (pictures / f"{number:02d}.txt").rename(pictures / f"{number + 1:02d}.txt")
    with Image.open(pictures / "10.png") as picture:
        exif = picture.getexif()
        exif[0x0112] = 6
        picture.save(pictures / "10.png", exif=exif)


def test_fix_asks_and_a_script_says_yes(place: Place) -> None:
    in_need_of_mending(place)
    before = without_home(place)
    asked = place.wan22lora("check", "run.yaml", "--fix")
    assert asked.exit_code == 2
    assert "18 captions of" in asked.stdout
    assert "07.txt → 06.txt  paperworld, picture 6" in asked.stdout
    assert "10.png" in asked.stdout
    assert "wan22lora check run.yaml --fix --yes" in asked.stderr
    assert without_home(place) == before

    done = place.wan22lora("check", "run.yaml", "--fix", "--yes")
    assert done.exit_code == 0, done.output
    assert "18 captions renamed" in done.stdout
    assert "1 picture turned upright" in done.stdout
    assert "rotation tag" not in done.stdout
    assert (place.path / "pictures" / "07.txt").read_text(encoding="utf-8") == "paperworld, picture 7\n"
    assert (place.path / "pictures-originals" / "10.png").is_file()
    again = place.wan22lora("check", "run.yaml", "--fix")
    assert again.exit_code == 0
    assert "Nothing was found that --fix mends." in again.stdout


def test_fix_leaves_the_json_alone(place: Place) -> None:
    in_need_of_mending(place)
    done = place.wan22lora("check", "pictures", "--fix", "-y", "--json")
    assert json.loads(done.stdout)["ok"]
    assert "18 captions renamed" in done.stderr
    assert place.wan22lora("check", "pictures", "--yes").exit_code == 2


def test_fix_killed_in_the_middle_is_finished_by_the_same_command(place: Place) -> None:
    folder, originals = place.path / "many", place.path / "many-originals"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    for number in range(30):
        noise = Image.effect_noise((640, 480), 80).convert("RGB")
        noise.save(folder / f"{number:02d}.jpg", exif=exif)
        (folder / f"{number:02d}.txt").write_text(f"zxq, noise {number}", encoding="utf-8")
    before = {path.name: path.read_bytes() for path in folder.glob("*.jpg")}
    process = place.start("check", "many", "--fix", "--yes")
    while process.poll() is None and len(list(originals.glob("*.jpg"))) < 5:
        time.sleep(0.005)
    process.kill()
    process.wait()
    kept = {path.name: path.read_bytes() for path in originals.glob("*.jpg")}
    assert 5 <= len(kept) < 30
    assert all(before[name] in (kept.get(name), (folder / name).read_bytes()) for name in before)
    done = place.wan22lora("check", "many", "--fix", "--yes")
    assert done.exit_code == 0, done.output
    assert {path.name: path.read_bytes() for path in originals.glob("*.jpg")} == before
    for name in before:
        with Image.open(folder / name) as picture:
            assert picture.size == (480, 640)
    assert not (place.path / "many-originals-2").exists()
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] in ([], [".wan22lora-captions"])


def test_the_pictures_of_the_demo_are_as_the_program_would_have_them(place: Place) -> None:
    script = Path(__file__).parents[2] / "examples" / "make_pictures.py"
    subprocess.run([sys.executable, script, place.path / "demo"], check=True, capture_output=True)
    place.write("name: demo\npreset: style\nimages: demo\ntrigger: paperworld\nhardware: 80gb\n", "demo.yaml")
    done = place.wan22lora("check", "demo.yaml")
    assert "No errors, 0 warnings, 1 of advice." in done.stdout, done.stdout  # the memory settings
