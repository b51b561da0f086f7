from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from wan22lora.errors import Finding
from wan22lora.spec.resolved import Spec

Load = Callable[[str], Spec]
Refuse = Callable[[str], list[Finding]]
SHORT = "name: paper\npreset: style\nimages: ./pictures\n"
CLIPS = "name: paper\npreset: motion\nvideos: ./clips\n"

REFUSED = [
    ("train: {timestep_sampling: sigmoid, timestep_shift: 3}", "train.timestep_shift", "ignored"),
    ("train: {lr_scheduler_min_lr_ratio: 0.1}", "train.lr_scheduler_min_lr_ratio", "does nothing"),
    ("train: {alpha: 1}", "train.alpha", "1/16"),
    ("train: {optimizer: null}", "train.optimizer", "missing"),
    ("train: {learning_rate: null}", "train.learning_rate", "2e-6"),
    ("train: {timestep_sampling: null}", "train.timestep_sampling", "upside down"),
    ("train: {epochs: 3, steps: 10}", "train.steps", "beside"),
    ("train: {epochs: null}", "train.epochs", "how long"),
    ("train: {lr_scheduler: constant, lr_warmup_steps: 10}", "train.lr_warmup_steps", "constant"),
    ("train: {lr_scheduler: cosine, lr_scheduler_power: 2}", "train.lr_scheduler_power", "ignored"),
    ("train: {optimizer: x.AdamWScheduleFree}", "train.optimizer", "bypassed"),
    ("train: {fp8_base: false, fp8_scaled: true}", "train.fp8_scaled", "fp8_base"),
    ("train: {timestep_range: [900, 800]}", "train.timestep_range", "rise"),
    ("experts: {high: {timestep_range: [0, 875]}}", "experts.high.timestep_range", "never be used"),
    ("train: {network_args: {exclude: 'a=b'}}", "train.network_args", "="),
    ("musubi: {train: {dit_high_noise: x.safetensors}}", "musubi.train.dit_high_noise", "joint mode"),
    ("musubi: {train: {config_file: x.toml}}", "musubi.train.config_file", "misspelt"),
    ("musubi: {train: {huggingface_token: abc}}", "musubi.train.huggingface_token", "HF_TOKEN"),
    ("musubi: {train-high: {sample_every_n_steps: 0}}", "musubi.train-high.sample_every_n_steps", "zero"),
    ("models: {dit: a.safetensors}", "models.dit", "not used"),
    ("models: {high: a.safetensors, low: a.safetensors}", "models.low", "same file"),
    ("folder: 'runs/[old]'", "folder", "pattern"),
    ("data: {resolution: 970, bucket: false}", "data.resolution", "16"),
    ("task: t2v-14B\nexperts: {high: {rank: 4}}", "experts.high", "single expert"),
    ("pin: v9", "pin", "revision"),
    ("train: {timestep_range: null}", "train.timestep_range", "never used"),
    ("train: {lr_scheduler: polynomal}", "train.lr_scheduler", "after loading"),
    ("train: {lr_scheduler: reduce_lr_on_plateau}", "train.lr_scheduler", "no scheduler"),
    ("train: {lr_scheduler: cosine_with_min_lr}", "train.lr_scheduler", "lowest"),
    ("train: {lr_scheduler: piecewise_constant}", "train.lr_scheduler", "step_rules"),
    ("pin: article\ntrain: {lr_scheduler: rex, save_precision: null}", "train.lr_scheduler", "not at article"),
    ("train: {optimizer: adamw8bits}", "train.optimizer", "after loading"),
    ("train: {optimizer: radam}", "train.optimizer", "torch.optim"),
    ("train: {optimizer: adafactor, lr_scheduler: cosine}", "train.lr_scheduler", "relative_step"),
    ("experts: {high: {output_name: paper-low}}", "experts.high.output_name", "same"),
    ("models: {low: a.st}\nexperts: {high: {checkpoint: a.st}}", "experts.high.checkpoint", "same file"),
    ("data: {frames: 81}", "data.frames", "for clips"),
    ("data: {source_fps: 24}", "data.source_fps", "for clips"),
    ("folder: ~no.such.user/x", "folder", "home"),
    ("folder: runs/paper-rehearsal", "folder", "caches hold nothing"),
    ("trainer: extension\npin: article\ntrain: {save_precision: null}", "trainer", "v0.3.4"),
    ("trainer: plain\nvalidation: {hold_out: 2}", "validation", "trainer: plain"),
    ("trainer: plain\ntrain: {ema: {decay: 0.9}}", "train.ema", "trainer: plain"),
    ("trainer: plain\ntrain: {states: {keep_last: 3}}", "train.states", "trainer: plain"),
    ("trainer: plain\nexperts: {low: {max_nan_steps: 2}}", "experts.low.max_nan_steps", "trainer: plain"),
    ("trigger: zxq\ntrainer: plain\ntrain: {preservation: {class: man}}", "train.preservation", "trainer: plain"),
    ("pin: article\ntrain: {save_precision: null, ema: {decay: 0.9}}", "train.ema", "pin: article"),
    ("pin: article\ntrain: {save_precision: null}\nvalidation: {hold_out: 2}", "validation", "pin: article"),
    ("train: {preservation: {class: man}}", "trigger", "missing"),
    ("trigger: ' '\ntrain: {preservation: {class: man}}", "trigger", "missing"),
    ("trigger: man\ntrain: {preservation: {class: man}}", "train.preservation.class", "holds the trigger"),
    ("trigger: zx\ntrain: {preservation: {class: a zxy man}}", "train.preservation.class", "holds the trigger"),
    ("trigger: zx\ntrain: {preservation: {class: ' '}}", "train.preservation.class", "blank"),
    (
        "trigger: zx\ntrain: {preservation: {class: man, every: 2, probability: 0.5}}",
        "train.preservation.probability",
        "beside",
    ),
    ("musubi: {train: {resume: ./state}}", "musubi.train.resume", "by itself"),
    ("musubi: {train: {resume_from_huggingface: true}}", "musubi.train.resume_from_huggingface", "by itself"),
]


@pytest.mark.parametrize(("lines", "key", "reason"), REFUSED, ids=[case[0] for case in REFUSED])
def test_a_setting_that_costs_a_night_is_refused_with_the_reason(
    refuse: Refuse, lines: str, key: str, reason: str
) -> None:
    findings = [finding for finding in refuse(f"{SHORT}{lines}\n") if finding.level == "error"]
    assert [finding.where.split()[-1] for finding in findings] == [key]
    assert reason in findings[0].message
    assert not re.search(r"\([A-Z]{2}\b", findings[0].message)  # places in musubi's source are for comments
    assert findings[0].where.startswith("run.yaml:")


@pytest.mark.parametrize(
    ("lines", "key", "reason"),
    [
        ("data: {frames: 80}", "data.frames", "4N+1"),
        ("data: {frames: null}", "data.frames", "single frame"),
        ("data: {frame_extraction: head, frame_stride: 4}", "data.frame_stride", "slide"),
    ],
)
def test_clips_are_checked_too(refuse: Refuse, lines: str, key: str, reason: str) -> None:
    findings = refuse(f"{CLIPS}{lines}\n")
    assert [(finding.where.split()[-1], reason in finding.message) for finding in findings] == [(key, True)]


def test_the_articles_ratio_without_effect_is_allowed_where_it_is_reproduced_and_said(load: Load) -> None:
    spec = load("name: a\npreset: article-wan22\nimages: x\n")
    (note,) = [note for note in spec.notes if "min_lr_ratio" in note.where]
    assert note.level == "warning"
    assert note.where.startswith("presets/article-wan22.yaml:")
    assert "does nothing" in note.message


@pytest.mark.parametrize("rate", ["0.3", "1", "3e-7", "9.1e-3"])
def test_a_learning_rate_with_a_zero_too_many_or_too_few_is_pointed_out(load: Load, rate: str) -> None:
    (note,) = [note for note in load(f"{SHORT}train: {{learning_rate: {rate}}}\n").notes if "rate" in note.where]
    assert note.level == "warning"
    assert "the articles train adamw with 2e-4 to 3e-4" in note.message


@pytest.mark.parametrize(
    "lines", ["learning_rate: 1e-3", "learning_rate: 1e-5", "learning_rate: 1, optimizer: p.Prodigy"]
)
def test_a_learning_rate_that_may_be_meant_is_not(load: Load, lines: str) -> None:
    assert not [note for note in load(f"{SHORT}train: {{{lines}}}\n").notes if "rate" in note.where]


def test_the_same_ratio_written_by_the_user_is_refused(refuse: Refuse) -> None:
    findings = refuse("name: a\npreset: article-wan22\nimages: x\ntrain: {lr_scheduler_min_lr_ratio: 5e-5}\n")
    assert [finding.level for finding in findings if "min_lr_ratio" in finding.where] == ["error"]


def test_a_rule_that_both_experts_break_is_told_once(refuse: Refuse) -> None:
    assert len(refuse(f"{SHORT}train: {{alpha: 1}}\n")) == 1


def test_the_plain_trainer_may_resume_with_a_warning_of_what_starts_again(load: Load) -> None:
    spec = load(f"{SHORT}trainer: plain\nmusubi: {{train-high: {{resume: ./state}}}}\n")
    (note,) = [note for note in spec.notes if note.where.endswith("resume")]
    assert "start again at 0" in note.message


def test_what_only_the_extension_does_is_refused_for_both_experts_once(refuse: Refuse) -> None:
    assert len(refuse(f"{SHORT}trainer: plain\ntrain: {{ema: {{decay: 0.9}}}}\n")) == 1


def test_a_presets_preservation_under_the_plain_trainer_is_answered_with_both_ways_out(refuse: Refuse) -> None:
    (finding,) = refuse("name: a\npreset: person\ntrigger: zxq\nimages: x\ntrainer: plain\n")
    assert finding.where.startswith("presets/person.yaml:")
    assert "train: {preservation: null}" in finding.fix
    assert "trainer: extension" in finding.fix


@pytest.mark.parametrize("lines", ["pin: article", "trainer: plain"])
def test_without_preservation_the_person_preset_trains_with_musubis_own_program(load: Load, lines: str) -> None:
    taken_away = "train: {preservation: null, save_precision: null}"
    spec = load(f"name: a\npreset: person\nimages: x\n{lines}\n{taken_away}\n")
    assert spec.trainer == "plain"
    assert all(expert.settings.preservation is None for expert in spec.experts)


def test_a_preset_that_preserves_says_what_to_write_where_the_trigger_is_missing(refuse: Refuse) -> None:
    (finding,) = refuse("name: a\npreset: person\nimages: x\n")
    assert finding.where == "run.yaml:1:1 trigger"
    assert "presets/person.yaml:" in finding.message
    assert finding.fix.startswith("trigger: ")


def test_musubis_resume_is_refused_where_states_continue_by_themselves(refuse: Refuse) -> None:
    (finding,) = refuse(f"{SHORT}musubi: {{train-low: {{resume: ./state}}}}\n")
    assert finding.where == "run.yaml:4:22 musubi.train-low.resume"
    assert "trainer: plain" in finding.fix


def test_compile_and_dynamo_go_through_the_extensions_loop_too(load: Load) -> None:
    spec = load(f"{SHORT}musubi: {{train: {{compile: true, dynamo_backend: INDUCTOR}}}}\n")
    assert spec.experts[0].options["compile"] is True


def test_options_of_several_processes_are_said_to_do_nothing(load: Load) -> None:
    (note,) = [note for note in load(f"{SHORT}musubi: {{train: {{ddp_timeout: 5}}}}\n").notes if "ddp" in note.where]
    assert note.level == "warning"
