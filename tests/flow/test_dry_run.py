from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from .conftest import Place


def tree(path: Path) -> dict[str, tuple[int, int]]:
    return {str(file.relative_to(path)): (file.stat().st_mtime_ns, file.stat().st_size) for file in path.rglob("*")}


@pytest.mark.parametrize("options", [(), ("--json",), ("--rehearse",)], ids=["script", "json", "rehearsal"])
def test_a_dry_run_touches_no_disk(place: Place, options: tuple[str, ...]) -> None:
    before = tree(place.path)
    done = place.wan22lora("train", "run.yaml", "--dry-run", *options)
    assert done.exit_code == 0, done.stderr
    assert tree(place.path) == before


def test_the_json_plan_has_the_four_steps(place: Place) -> None:
    plan = json.loads(place.wan22lora("train", "run.yaml", "--dry-run", "--json").stdout)
    assert [step["id"] for step in plan["steps"]] == ["cache-latents", "cache-text", "train-high", "train-low"]
    assert {key for step in plan["steps"] for key in step} >= {"id", "argv", "cwd", "env", "fresh", "why"}
    assert not any(step["fresh"] for step in plan["steps"])
    assert [Path(file["path"]).name for file in plan["files"]] == ["dataset.toml"]
    place.write("name: paper\npreset: article-wan22\nimages: pictures\ntrainer: plain\n")
    plan = json.loads(place.wan22lora("train", "run.yaml", "--dry-run", "--json").stdout)
    assert [Path(file["path"]).name for file in plan["files"]] == ["dataset.toml", "accelerate.yaml"]


def test_a_single_expert_has_one_training(place: Place) -> None:
    place.write("name: paper\npreset: article-wan21\nimages: pictures\n")
    plan = json.loads(place.wan22lora("train", "run.yaml", "--dry-run", "--json").stdout)
    assert [step["id"] for step in plan["steps"]] == ["cache-latents", "cache-text", "train"]


def test_image_to_video_caches_are_made_with_the_first_frame(place: Place) -> None:
    place.write("name: paper\npreset: article-wan22\ntask: i2v-A14B\nimages: pictures\n")
    plan = json.loads(place.wan22lora("train", "run.yaml", "--dry-run", "--json").stdout)
    argvs = {step["id"]: step["argv"] for step in plan["steps"]}
    assert "--i2v" in argvs["cache-latents"]
    assert argvs["train-high"][argvs["train-high"].index("--min_timestep") + 1] == "900"
    assert argvs["train-low"][argvs["train-low"].index("--max_timestep") + 1] == "900"


def test_it_says_how_long_the_run_is_and_where_musubi_would_be(place: Place) -> None:
    script = place.wan22lora("train", "run.yaml", "--dry-run").stdout
    assert "# train-high: 54 optimizer steps" in script
    assert "# 18 batches an epoch" in script
    assert "musubi-tuner should be" in script


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("--musubi", "/a"), "/a"),
        ((), "/b"),
    ],
    ids=["the option before the environment", "the environment before the settings"],
)
def test_musubis_checkout_is_named_in_three_ways(place: Place, given: tuple[str, ...], expected: str) -> None:
    settings = place.write("musubi: /c\n", "machine.yaml")
    env = {"WAN22LORA_MUSUBI": "/b", "WAN22LORA_MACHINE": str(settings)}
    plan = json.loads(place.wan22lora("train", "run.yaml", "--dry-run", "--json", *given, env=env).stdout)
    assert {step["cwd"] for step in plan["steps"]} == {expected}
    del env["WAN22LORA_MUSUBI"]
    plan = json.loads(place.wan22lora("train", "run.yaml", "--dry-run", "--json", env=env).stdout)
    assert {step["cwd"] for step in plan["steps"]} == {"/c"}


@pytest.mark.parametrize("trainer", ["extension", "plain"])
def test_the_printed_script_does_what_train_does(place: Place, trainer: str) -> None:
    place.write(f"name: paper\npreset: article-wan22\nimages: pictures\ntrain: {{epochs: 3}}\ntrainer: {trainer}\n")
    script = place.wan22lora("train", "run.yaml", "--dry-run", "--rehearse").stdout
    subprocess.run(["sh", "-c", script], check=True, env=place.environment, capture_output=True)
    by_script = {path.name for path in (place.run / "output").iterdir()}
    assert by_script >= {"paper-high.safetensors", "paper-low.safetensors"}


def run_script(place: Place, *, fault: str = "") -> int:
    script = place.wan22lora("train", "run.yaml", "--dry-run", "--rehearse").stdout
    environment = {**place.environment, **({"WAN22LORA_FAULT": fault} if fault else {})}
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, check=False)
    return done.returncode


@pytest.mark.parametrize("trainer", ["extension", "plain"])
def test_what_the_printed_script_has_done_is_not_done_again(place: Place, trainer: str) -> None:
    place.write(f"name: paper\npreset: article-wan22\nimages: pictures\ntrain: {{epochs: 3}}\ntrainer: {trainer}\n")
    assert run_script(place) == 0
    made = place.caches()
    done = place.wan22lora("train", "run.yaml", "--rehearse")
    assert "nothing to do" in done.output
    assert place.caches() == made
    place.write("other words\n", "pictures/03.txt")
    why = place.wan22lora("cache", "run.yaml", "--rehearse", "--why").output
    assert "caption edited" in why
    assert "1 to encode" in why


def test_what_changed_since_the_script_was_printed_is_encoded_again(place: Place) -> None:
    script = place.wan22lora("train", "run.yaml", "--dry-run", "--rehearse").stdout
    caption, picture = place.path / "pictures" / "03.txt", place.path / "pictures" / "07.png"
    before, pixels = caption.read_text(encoding="utf-8"), picture.read_bytes()
    place.write("other words\n", "pictures/03.txt")
    picture.write_bytes((place.path / "pictures" / "06.png").read_bytes())
    subprocess.run(["sh", "-c", script], check=True, env=place.environment, capture_output=True)
    caption.write_text(before, encoding="utf-8")  # as they were when it was printed, not when it ran
    picture.write_bytes(pixels)
    why = place.wan22lora("cache", "run.yaml", "--rehearse", "--why").output
    assert "2 to encode" in why
    assert "03.png" in why
    assert "07.png" in why


def test_a_cache_file_that_is_written_over_after_the_script_is_encoded_again(place: Place) -> None:
    assert run_script(place) == 0
    files = sorted((place.run / "cache" / "0").glob("*_wan.safetensors"))
    files[0].write_bytes(files[1].read_bytes())
    assert "1 to encode" in place.wan22lora("cache", "run.yaml", "--rehearse", "--why").output


@pytest.mark.parametrize(("fault", "encoded"), [("cache-text:crash@5", 18), ("train-low:crash@5", 0)])
def test_a_script_that_failed_leaves_no_word_of_what_it_had_not_done(place: Place, fault: str, encoded: int) -> None:
    assert run_script(place, fault=fault) != 0
    why = place.wan22lora("cache", "run.yaml", "--rehearse", "--why").output
    assert f"{36 - encoded} current" in why
    plan = json.loads(place.wan22lora("train", "run.yaml", "--dry-run", "--rehearse", "--json").stdout)
    assert [step["id"] for step in plan["steps"] if not step["fresh"]][-1] == "train-low"


def test_a_script_whose_musubi_is_gone_ends_there(place: Place) -> None:
    script = place.wan22lora("train", "run.yaml", "--dry-run", "--rehearse").stdout
    there = f"cd {place.run}"
    assert there in script
    script = script.replace(there, f"cd {place.path}/gone")
    done = subprocess.run(["sh", "-c", script], env=place.environment, capture_output=True, check=False)
    assert done.returncode != 0
    assert not list((place.run / "steps").iterdir())


def test_status_tells_what_a_trainer_that_was_started_by_hand_has_told(place: Place) -> None:
    assert run_script(place, fault="train-low:crash@5") != 0
    shown = place.wan22lora("status", "run.yaml", "--rehearse").output
    assert shown.startswith("paper-rehearsal: trained by hand, not by `wan22lora train`")
    assert "by hand  train-high     ended" in shown
    assert "by hand  train-low      failed" in shown
    assert place.wan22lora("train", "run.yaml", "--rehearse").exit_code == 0
    shown = place.wan22lora("status", "run.yaml", "--rehearse").output
    assert shown.startswith("paper (rehearsal): finished")
    assert "done     train-low" in shown


def test_status_says_that_nothing_tells_of_a_training_by_musubis_own_program(place: Place) -> None:
    place.write("name: paper\npreset: article-wan22\nimages: pictures\ntrain: {epochs: 3}\ntrainer: plain\n")
    assert run_script(place) == 0
    done = place.wan22lora("status", "run.yaml", "--rehearse")
    assert done.exit_code == 7
    assert "holds files in output/, and no run that wan22lora has started" in done.output


def test_an_option_that_the_revision_lacks_is_refused_by_name(place: Place) -> None:
    place.write(
        "name: paper\npreset: article-wan22\nimages: pictures\npin: article\n"
        "musubi:\n  train: {num_timestep_buckets: 4}\n"
    )
    done = place.wan22lora("train", "run.yaml", "--dry-run")
    assert done.exit_code == 2
    assert "run.yaml:6:11 musubi.train.num_timestep_buckets" in done.stderr
    assert "v0.3.4" in done.stderr


def test_options_without_a_key_reach_their_step_and_are_checked(place: Place) -> None:
    text = "name: paper\npreset: article-wan22\nimages: pictures\nmusubi:\n"
    place.write(text + "  cache-text: {fp8_t5: true}\n  train-low: {weighting_scheme: logit_normal}\n")
    plan = json.loads(place.wan22lora("train", "run.yaml", "--dry-run", "--json").stdout)
    argvs = {step["id"]: step["argv"] for step in plan["steps"]}
    assert "--fp8_t5" in argvs["cache-text"]
    assert "--weighting_scheme" in argvs["train-low"]
    assert "--weighting_scheme" not in argvs["train-high"]
    place.write(text + "  train: {weighting_scheme: logitnormal, max_train_step: 3, learning_rate: 1.0}\n")
    done = place.wan22lora("train", "run.yaml", "--dry-run")
    assert done.exit_code == 2
    for part in ("weighting_scheme", "max_train_steps", "train.learning_rate"):
        assert part in done.stderr


@pytest.mark.parametrize("trainer", ["extension", "plain"])
def test_a_setting_of_several_lines_stays_inside_the_script(place: Place, trainer: str) -> None:
    settings = f"name: paper\npreset: style\nimages: pictures\ntrainer: {trainer}\n"

    def play() -> None:
        script = place.wan22lora("train", "run.yaml", "--rehearse", "--dry-run").stdout
        done = subprocess.run(
            ["bash"], input=script, text=True, cwd=place.path, env=place.environment, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr

    for author in ("one", "one\\ntouch escaped"):  # not trained, then trained with another author, then fresh
        place.write(f'{settings}train: {{author: "{author}", epochs: 1, save_every_epochs: 1}}\n')
        play()
        assert place.wan22lora("train", "run.yaml", "--rehearse", "--restart").exit_code == 0
    play()
    assert not list(place.path.rglob("escaped"))
