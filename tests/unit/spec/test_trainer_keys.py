"""What run.yaml says to the trainer extension: what it comes to, and what is refused at which line."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wan22lora.errors import Finding
from wan22lora.spec.fast import computes_fast
from wan22lora.spec.resolved import Spec

Load = Callable[[str], Spec]
Refuse = Callable[[str], list[Finding]]
SHORT = "name: paper\npreset: style\nimages: ./pictures\ntrigger: zxq\n"


@pytest.mark.parametrize(
    ("lines", "trainer"),
    [
        ("", "extension"),
        ("trainer: null", "extension"),
        ("trainer: plain", "plain"),
        ("pin: 30c658c4f4b0bf05038b3346eff9670259b10fc7", "extension"),
        ("pin: article\ntrain: {save_precision: null}", "plain"),
        ("pin: article\ntrainer: plain\ntrain: {save_precision: null}", "plain"),
    ],
)
def test_the_extension_trains_at_the_revision_that_it_is_written_for(load: Load, lines: str, trainer: str) -> None:
    assert load(f"{SHORT}{lines}\n").trainer == trainer


def test_a_run_that_says_nothing_of_it_stops_within_30_seconds_and_at_a_full_gpu(load: Load) -> None:
    for text in (SHORT, f"{SHORT}stop_grace: null\non_oom: null\nvalidation: null\n"):
        spec = load(text)
        assert (spec.stop_grace, spec.on_oom, spec.validation) == (30.0, None, None)
        settings = spec.experts[0].settings
        assert (settings.preservation, settings.ema, settings.states, settings.max_nan_steps) == (None,) * 4


@pytest.mark.parametrize(
    ("line", "speed", "asked"),
    [
        ("", "fast", False),
        ("speed: null", "fast", False),
        ("speed: fast", "fast", True),
        ("speed: reference", "reference", True),
        ("trainer: plain", "reference", False),
        ("pin: article\ntrain: {save_precision: null}", "reference", False),
    ],
)
def test_the_extension_is_fast_unless_it_is_told_otherwise(load: Load, line: str, speed: str, asked: bool) -> None:
    spec = load(f"{SHORT}{line}\n")
    assert (spec.speed, spec.asks_for_speed) == (speed, asked)


@pytest.mark.parametrize(
    "lines", ["trainer: plain", "pin: article\ntrain: {save_precision: null}"], ids=["plain", "article"]
)
@pytest.mark.parametrize("speed", ["fast", "max"])
def test_musubis_own_program_has_no_fast_path(refuse: Refuse, load: Load, lines: str, speed: str) -> None:
    (finding,) = refuse(f"{SHORT}speed: {speed}\n{lines}\n")
    assert finding.where == "run.yaml:5:1 speed"
    assert finding.message.startswith(f"{speed} needs the trainer extension")
    assert finding.fix.startswith("speed: reference, or ")
    assert load(f"{SHORT}speed: reference\n{lines}\n").speed == "reference"


def test_speed_max_needs_weights_in_8_bits_for_each_expert(refuse: Refuse, load: Load) -> None:
    (finding,) = refuse(f"{SHORT}speed: max\nexperts: {{low: {{fp8_base: false}}}}\n")
    assert finding.where == "run.yaml:6:17 experts.low.fp8_base"
    assert finding.fix == "fp8_base: true, or speed: fast"


def test_speed_max_does_not_scale_weights_anew_that_are_streamed(refuse: Refuse, load: Load) -> None:
    text = f"{SHORT}speed: max\nmusubi: {{train: {{block_swap_h2d_only: true}}}}\n"
    settings = "fp8_scaled: true, blocks_to_swap: 4, gradient_checkpointing: true"
    (finding,) = refuse(f"{text}train: {{{settings}}}\n")
    assert finding.where == "run.yaml:6:18 musubi.train.block_swap_h2d_only"
    assert "under speed: max, which scales weights anew" in finding.message
    for other in (f"{text}train: {{{settings.replace('true', 'false', 1)}}}\n", f"{text}train: {{{settings}}}\n"):
        speed = "max" if "fp8_scaled: false" in other else "fast"
        assert load(other.replace("speed: max", f"speed: {speed}")).speed == speed


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        ("train:\n  network_dropout: 0.1", "run.yaml:7:3 train.network_dropout"),
        ("train:\n  network_args: {rank_dropout: 0.1}", "run.yaml:7:18 train.network_args.rank_dropout"),
        ("train:\n  network_args: {module_dropout: 0.1}", "run.yaml:7:18 train.network_args.module_dropout"),
        ("experts:\n  low: {attention: flash3}", "run.yaml:7:9 experts.low.attention"),
        ("musubi:\n  train: {compile: true}", "run.yaml:7:11 musubi.train.compile"),
        (
            "train:\n  gradient_checkpointing_cpu_offload: true",
            "run.yaml:7:3 train.gradient_checkpointing_cpu_offload",
        ),
    ],
)
def test_what_the_fast_path_does_not_know_is_refused_where_it_was_asked_for_and_else_left_to_musubi(
    load: Load, refuse: Refuse, lines: str, place: str
) -> None:
    (finding,) = refuse(f"{SHORT}speed: fast\n{lines}\n")
    assert finding.where == place
    assert finding.message.startswith("speed: fast does not know ")
    assert finding.fix == "remove it, or speed: reference"
    spec = load(f"{SHORT}stop_grace: 30\n{lines}\n")
    (note,) = [note for note in spec.notes if "musubi's own modules train" in note.message]
    assert (note.where, note.level) == (place, "note")
    left = [expert for expert in spec.experts if not computes_fast(spec, expert)]
    assert [expert.name for expert in left] == (["low"] if "low:" in lines else ["high", "low"])
    reference = load(f"{SHORT}speed: reference\n{lines}\n").notes
    assert not [note for note in reference if "musubi's own modules" in note.message]


@pytest.mark.parametrize("trainer", ["extension", "plain"])
def test_stops_and_full_gpus_are_answered_as_written_with_both_trainers(load: Load, trainer: str) -> None:
    spec = load(f"{SHORT}trainer: {trainer}\nstop_grace: 90\non_oom: retry\n")
    assert (spec.stop_grace, spec.on_oom) == (90.0, "retry")


def test_validation_holds_out_a_number_of_items_or_named_ones(load: Load) -> None:
    counted = load(f"{SHORT}validation: {{hold_out: 3, every_steps: 20, timesteps: 4}}\n").validation
    assert counted is not None
    assert (counted.hold_out, counted.every_steps, counted.timesteps) == (3, 20, 4)
    named = load(f"{SHORT}validation: {{hold_out: [a.png, b.png]}}\n").validation
    assert named is not None
    assert (named.hold_out, named.every_steps, named.timesteps) == (("a.png", "b.png"), 50, 8)


def test_each_expert_can_preserve_average_and_keep_states_in_its_own_way(load: Load) -> None:
    spec = load(
        f"""{SHORT}
train:
  preservation: {{class: man}}
  ema: {{decay: 0.99}}
  max_nan_steps: 5
experts:
  high: {{preservation: {{class: person, weight: 0.5, probability: 0.25}}, ema: null}}
  low: {{states: {{every_minutes: 2.5, every_steps: 100, keep_last: 3}}}}
"""
    )
    high, low = (expert.settings for expert in spec.experts)
    assert high.preservation is not None
    assert low.preservation is not None
    assert low.ema is not None
    assert low.states is not None
    kept = high.preservation
    assert (kept.class_, kept.weight, kept.every, kept.probability) == ("person", 0.5, None, 0.25)
    kept = low.preservation
    assert (kept.class_, kept.weight, kept.every, kept.probability) == ("man", 1.0, None, None)
    assert (high.ema, low.ema.decay) == (None, 0.99)
    assert (high.states, high.max_nan_steps) == (None, 5)
    assert (low.states.every_minutes, low.states.every_steps, low.states.keep_last) == (2.5, 100, 3)


def test_a_mapping_replaces_the_presets_whole(load: Load) -> None:
    text = "name: a\npreset: person\nimages: x\ntrigger: zxq\n"
    preset = load(text).experts[0].settings.preservation
    assert preset is not None
    assert (preset.class_, preset.weight, preset.every) == ("person", 1.0, 1)
    own = load(f"{text}train: {{preservation: {{class: woman, weight: 2}}}}\n").experts[0].settings.preservation
    assert own is not None
    assert (own.class_, own.weight, own.every) == ("woman", 2, None)


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        ("train:\n  preservation: {class: man, weight: 0}", "run.yaml:6:30 train.preservation.weight"),
        ("train:\n  preservation: {class: man, every: 0}", "run.yaml:6:30 train.preservation.every"),
        ("train:\n  preservation: {class: man, probability: 0}", "run.yaml:6:30 train.preservation.probability"),
        ("train:\n  preservation: {class: man, probability: 1.1}", "run.yaml:6:30 train.preservation.probability"),
        ("train:\n  preservation: {class: ''}", "run.yaml:6:18 train.preservation.class"),
        ("train:\n  preservation: {weight: 1}", "run.yaml:6:3 train.preservation.class"),
        ("train:\n  preservation: man", "run.yaml:6:3 train.preservation"),
        ("train:\n  ema: {decay: 0}", "run.yaml:6:9 train.ema.decay"),
        ("train:\n  ema: {decay: 1}", "run.yaml:6:9 train.ema.decay"),
        ("train:\n  ema: {}", "run.yaml:6:3 train.ema.decay"),
        ("train:\n  states: {every_minutes: 0}", "run.yaml:6:12 train.states.every_minutes"),
        ("train:\n  states: {every_steps: 0}", "run.yaml:6:12 train.states.every_steps"),
        ("train:\n  states: {keep_last: 0}", "run.yaml:6:12 train.states.keep_last"),
        ("train:\n  max_nan_steps: 0", "run.yaml:6:3 train.max_nan_steps"),
        ("validation: {hold_out: 0}", "run.yaml:5:14 validation.hold_out"),
        ("validation: {hold_out: []}", "run.yaml:5:14 validation.hold_out"),
        ("validation: {hold_out: ['']}", "run.yaml:5:14 validation.hold_out"),
        ("validation: {every_steps: 9}", "run.yaml:5:1 validation.hold_out"),
        ("validation: {hold_out: 1, every_steps: 0}", "run.yaml:5:27 validation.every_steps"),
        ("validation: {hold_out: 1, timesteps: 0}", "run.yaml:5:27 validation.timesteps"),
        ("validation: {hold_out: 1, timesteps: 65}", "run.yaml:5:27 validation.timesteps"),
        ("stop_grace: 0", "run.yaml:5:1 stop_grace"),
        ("on_oom: again", "run.yaml:5:1 on_oom"),
        ("trainer: musubi", "run.yaml:5:1 trainer"),
        ("speed: faster", "run.yaml:5:1 speed"),
    ],
)
def test_a_value_that_cannot_be_is_refused_where_it_stands(refuse: Refuse, lines: str, place: str) -> None:
    (finding,) = refuse(f"{SHORT}{lines}\n")
    assert finding.where == place
    assert finding.message


def test_an_empty_value_is_called_empty(refuse: Refuse) -> None:
    for line in ("validation: {hold_out: []}", "train: {preservation: {class: ''}}"):
        (finding,) = refuse(f"{SHORT}{line}\n")
        assert "must not be empty" in finding.message


def test_a_value_where_keys_belong_is_told_so(refuse: Refuse) -> None:
    (finding,) = refuse(f"{SHORT}train: {{preservation: man}}\n")
    assert finding.message == "must be keys and values (it is 'man')"


def test_a_misspelt_key_inside_a_mapping_is_answered_with_the_right_one(refuse: Refuse) -> None:
    findings = refuse(f"{SHORT}train:\n  preservation: {{clas: man}}\n")
    assert ("run.yaml:6:18 train.preservation.clas", "did you mean `class`?") in [
        (finding.where, finding.fix) for finding in findings
    ]


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        (
            "train:\n  preservation:\n    class: man\n    every: 2\n    probability: 0.5",
            "run.yaml:9:5 train.preservation.probability",
        ),
        ("train:\n  preservation:\n    class: zxq man", "run.yaml:7:5 train.preservation.class"),
        (
            "experts:\n  high:\n    preservation:\n      class: zxq man",
            "run.yaml:8:7 experts.high.preservation.class",
        ),
        ("trainer: plain\nexperts:\n  low:\n    ema: {decay: 0.9}", "run.yaml:8:5 experts.low.ema"),
        ("trainer: plain\nvalidation:\n  hold_out: 3", "run.yaml:6:1 validation"),
    ],
)
def test_a_rule_points_at_the_line_of_what_breaks_it(refuse: Refuse, lines: str, place: str) -> None:
    assert [finding.where for finding in refuse(f"{SHORT}{lines}\n")] == [place]


def test_everything_that_the_plain_trainer_lacks_is_told_at_once(refuse: Refuse) -> None:
    findings = refuse(
        f"{SHORT}trainer: plain\nvalidation: {{hold_out: 1}}\n"
        "train: {preservation: {class: man}, ema: {decay: 0.9}, states: {keep_last: 1}, max_nan_steps: 1}\n"
    )
    keys = [finding.where.split()[-1] for finding in findings]
    assert keys == ["validation", "train.preservation", "train.ema", "train.states", "train.max_nan_steps"]
