"""A training under the trainer extension: its events, its files, what it refuses."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from wan22lora.musubi.safetensors import read_header
from wan22lora.trainer.disk import sha256_of

from .bench import Bench


def told(event: dict[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(event[name] for name in names)


def cache_class_captions(bench: Bench, *stems: str) -> None:
    """As the plan does: a JSONL file beside the dataset, its caches in a folder inside the dataset's."""
    lines = [json.dumps({"image_path": f"/gone/{stem}.png", "caption": "a person"}) for stem in stems]
    (bench.folder / "class.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    bench.write_config(
        "[[datasets]]",
        f'image_jsonl_file = "{(bench.folder / "class.jsonl").as_posix()}"',
        f'cache_directory = "{(bench.cache / "class-1a2b3c4d").as_posix()}"',
        "resolution = [96, 96]",
    )
    assert bench.cache_text().returncode == 0
    bench.write_config()


def test_the_options_of_the_fast_path_are_taken_and_other_speeds_refused(cached: Bench) -> None:
    assert cached.extension("--speed", "fast", "--activation_budget", "0.25").returncode == 0
    done = cached.extension("--speed", "faster")
    assert done.returncode == 2
    assert "argument --speed: invalid choice: 'faster'" in done.stderr


PRESERVE = ("--preservation_weight", "1", "--preservation_folder", "class-1a2b3c4d")


def test_everything_is_told_in_events(cached: Bench) -> None:
    done = cached.extension("--save_every_n_epochs", "1")
    assert done.returncode == 0
    assert "avr_loss" not in done.stderr
    events = cached.events()
    assert {event["id"] for event in events} == {"train-high"}
    assert [event["event"] for event in events if event["event"] != "train-step"] == [
        *("weights-loaded", "training-begun", "epoch", "checkpoint", "epoch", "checkpoint", "epoch"),
        *("state", "checkpoint", "training-ended"),
    ]
    assert told(events[1], "step", "total", "epoch", "epochs", "state") == (0, 18, 1, 3, None)
    steps = cached.events("train-step")
    assert [event["step"] for event in steps] == list(range(1, 19))
    assert [event["epoch"] for event in steps] == [1] * 6 + [2] * 6 + [3] * 6
    assert {event["total"] for event in steps} == {18}
    assert {event["samples"] for event in steps} == {1}
    assert [event["seconds"] is None for event in steps] == [True] + [False] * 17
    assert all(0.01 < event["loss"] < 1 for event in steps)
    assert all(0 < event["gpu_peak"] < event["gpu_reserved"] for event in steps)
    assert told(events[-1], "step") == (18,)


def test_a_checkpoint_is_told_once_it_stands_with_its_hash(cached: Bench) -> None:
    cached.extension("--save_every_n_steps", "7", "--save_last_n_steps", "0", "--ema_decay", "0.99")
    checkpoints = cached.events("checkpoint")
    names = [Path(event["path"]).name for event in checkpoints]
    assert names == ["t-step00000007.safetensors", "t-step00000014.safetensors", "t.safetensors"]
    assert {path.name for path in cached.out.iterdir()} == {
        *names[1:],
        "t-step00000014-ema.safetensors",
        "t-ema.safetensors",
    }
    for event in checkpoints[1:]:
        assert sha256_of(Path(event["path"])) == event["sha256"]
        assert sha256_of(Path(event["ema"])) == event["ema_sha256"]
        assert event["sha256"] != event["ema_sha256"]
    header = read_header(cached.out / "t.safetensors")
    assert header.metadata["ss_steps"] == "18"
    assert header.metadata["wan22lora_rehearsal"] == "nothing was trained"


def test_states_come_every_so_many_steps_and_the_old_ones_go(cached: Bench) -> None:
    done = cached.extension("--states_every_steps", "5", "--states_keep_last", "2")
    assert done.returncode == 0
    assert [event["step"] for event in cached.events("state")] == [5, 10, 15, 18]
    assert sorted(path.name for path in cached.states.iterdir()) == ["step-00000015", "step-00000018"]
    facts = json.loads((cached.states / "step-00000015" / "state.json").read_text(encoding="utf-8"))
    assert told(facts, "step", "total", "epoch", "batch", "seed") == (15, 18, 3, 3, 5)
    assert facts["sha256"] == sha256_of(cached.states / "step-00000015" / "state.pt")


def test_states_come_every_so_many_minutes(cached: Bench) -> None:
    cached.extension("--states_every_minutes", "0.001", WAN22LORA_REHEARSAL_STEP_SECONDS="0.02")
    assert len(cached.events("state")) > 3


def test_the_learning_rate_follows_its_schedule(cached: Bench) -> None:
    cached.extension("--lr_scheduler", "cosine", "--learning_rate", "1e-4", "--lr_warmup_steps", "6")
    rates = [event["lr"] for event in cached.events("train-step")]
    assert rates[:7] == sorted(rates[:7])
    assert rates[6] == pytest.approx(1e-4)
    assert rates[6:] == sorted(rates[6:], reverse=True)


def test_held_out_items_are_not_trained_and_validate(cached: Bench) -> None:
    held = cached.folder / "held-out.txt"
    held.write_text("cache/a0\ncache/a3\n", encoding="utf-8")
    done = cached.extension(
        "--held_out", held, "--validate_every_steps", "4", "--min_timestep", "875", "--max_timestep", "1000"
    )
    assert done.returncode == 0
    assert cached.events("training-begun")[0]["total"] == 12
    validations = cached.events("validation")
    assert [event["step"] for event in validations] == [4, 8, 12]
    assert [event["loss"] for event in validations] == sorted((event["loss"] for event in validations), reverse=True)
    bins = validations[0]["bins"]
    assert (len(bins), bins[0]["low"], bins[-1]["high"]) == (8, 875, 1000)
    assert all(before["high"] == after["low"] for before, after in pairwise(bins))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("cache/a0\nelsewhere/a4\n", "no caches of the held-out items elsewhere/a4"),
        ("".join(f"cache/a{index}\n" for index in range(6)), "every item is held out, and none is left to train on"),
    ],
)
def test_held_out_items_must_be_there_and_leave_something(cached: Bench, names: str, message: str) -> None:
    held = cached.folder / "held-out.txt"
    held.write_text(names, encoding="utf-8")
    assert cached.extension("--held_out", held).returncode == 1
    (failed,) = cached.events()
    assert told(failed, "event", "reason", "text") == ("training-failed", "error", message)


def test_preservation_reports_both_losses(cached: Bench) -> None:
    cache_class_captions(cached, *(f"a{index}" for index in range(6)))
    done = cached.extension(*PRESERVE, "--preservation_every", "3")
    assert done.returncode == 0
    preserved = [event for event in cached.events("train-step") if "losses" in event]
    assert [event["step"] for event in preserved] == [1, 4, 7, 10, 13, 16]
    assert preserved[0]["losses"]["preservation"] == 0
    assert all(event["losses"]["diffusion"] == event["loss"] for event in preserved)


def test_preservation_needs_the_class_caption_of_every_item(cached: Bench) -> None:
    cache_class_captions(cached, *(f"a{index}" for index in range(5)))
    done = cached.extension(*PRESERVE)
    assert done.returncode == 1
    missing = str(cached.cache / "class-1a2b3c4d" / "a5_wan_te.safetensors")
    assert f"FileNotFoundError: there is no cached class prompt {missing}: wan22lora cache" in done.stderr
    assert cached.events("training-failed")[0]["reason"] == "error"
    assert missing in cached.events("training-failed")[0]["text"]


def test_class_captions_are_cached_without_a_look_at_the_pictures_and_are_never_trained(cached: Bench) -> None:
    cache_class_captions(cached, "a0", "a1")
    names = sorted(path.name for path in (cached.cache / "class-1a2b3c4d").iterdir())
    assert names == ["a0_wan_te.safetensors", "a1_wan_te.safetensors"]
    header = read_header(cached.cache / "class-1a2b3c4d" / names[0])
    assert header.metadata["caption1"] == "a person"
    assert cached.cache_latents().returncode == 0
    assert cached.cache_text().returncode == 0
    assert sorted(path.name for path in (cached.cache / "class-1a2b3c4d").iterdir()) == names
    cached.extension()
    assert cached.events("training-begun")[0]["total"] == 18


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--resume", "state"), "--resume: the training continues from the newest state by itself"),
        (("--config_file", "options"), "--config_file: options are given by name here"),
        (("--dit_high_noise", "x"), "--dit_high_noise: it would train one LoRA for both experts"),
        (("--states_keep_lots", "2"), "unrecognized arguments: --states_keep_lots 2"),
        (("--max_nan_steps", "some"), "argument --max_nan_steps: invalid int value"),
    ],
)
def test_options_that_it_does_not_take(cached: Bench, options: tuple[str, ...], message: str) -> None:
    done = cached.extension(*options)
    assert done.returncode == 2
    assert message in done.stderr
    assert not cached.ledger.exists()


def test_its_own_options_are_required(cached: Bench) -> None:
    argv = cached.extension_argv()
    done = cached.run(argv[: argv.index("--ledger")])
    assert done.returncode == 2
    assert "the following arguments are required: --ledger, --step_id, --states" in done.stderr


def test_another_musubi_is_refused_by_name(cached: Bench) -> None:
    done = cached.extension(WAN22LORA_PIN="article")
    assert done.returncode == 1
    assert cached.events("training-failed")[0]["reason"] == "wrong-musubi"


def test_a_script_called_trainer_is_no_program_of_the_plan(cached: Bench) -> None:
    argv = cached.extension_argv()
    argv[argv.index("/somewhere/wan22lora/trainer")] = "/somewhere/trainer.py"
    done = cached.run(argv)
    assert done.returncode == 1
    assert done.stderr.startswith("usage: python -m wan22lora.rehearsal")
