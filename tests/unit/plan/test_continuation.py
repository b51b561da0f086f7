"""Every training is trained, continued, left alone or refused for the right reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from wan22lora.errors import RunFolderError
from wan22lora.musubi.safetensors import write
from wan22lora.plan.continuation import Asked, Before, Turn, raise_refusals, turn_of
from wan22lora.plan.model import Step
from wan22lora.plan.states import Kept, State
from wan22lora.plan.training import differences

STEP = "train-high"
KEY = {"--learning_rate": "3e-4", "--max_train_epochs": "100", "--save_every_n_epochs": "20", "musubi": "v0.3.4"}
OTHER = {**KEY, "--learning_rate": "1e-4"}
LONGER = {**KEY, "--max_train_epochs": "150"}
TOTALS = {"100": 1800, "150": 2700, "50": 900}
HALFWAY = State(Path("states/train-high/step-00000900"), 900, 1800)
END = State(Path("states/train-high/step-00001800"), 1800, 1800)

Make = Callable[..., Turn]


@pytest.fixture
def result(tmp_path: Path) -> Path:
    path = tmp_path / "paper-high.safetensors"
    write(path, {"a.lora_down.weight": ("F16", (1,), b"\0\0")}, {})
    return path


@pytest.fixture
def turn(result: Path) -> Make:
    def decide(
        key: dict[str, str],
        *,
        done: dict[str, str] | None = None,
        state: State | None = None,
        states_key: dict[str, str] | None = None,
        extension: bool = True,
        step: str = STEP,
        **asked: object,
    ) -> Turn:
        if not done:
            result.unlink(missing_ok=True)
        kept = Kept(state, KEY if states_key is None and state else states_key or {})
        before = Before(done or {}, kept, (result,))
        total = TOTALS[key["--max_train_epochs"]]
        return turn_of(step, key, before, replace(Asked(), **asked), total=total, extension=extension)  # type: ignore[arg-type]

    return decide


def refused(turn: Turn) -> list[str]:
    assert turn.refusal is not None
    assert turn.continues is None
    assert not turn.fresh
    return [str(finding) for finding in turn.refusal.findings]


def test_a_training_without_anything_begins(turn: Make) -> None:
    for asked in ({}, {"extend": True}, {"restart": frozenset({STEP})}):
        assert turn(KEY, **asked) == Turn("not trained yet")
    assert turn(KEY, states_key=OTHER) == Turn("not trained yet")


def test_a_finished_training_is_left_alone(turn: Make) -> None:
    for asked in ({}, {"extend": True}, {"restart": frozenset({"train-low"})}):
        assert turn(KEY, done=KEY, state=END, **asked) == Turn("trained, and nothing changed since", fresh=True)


def test_a_stopped_training_goes_on(turn: Make) -> None:
    assert turn(KEY, state=HALFWAY) == Turn("continues at step 900 of 1,800", continues=HALFWAY)


def test_a_stopped_training_goes_on_though_other_checkpoints_are_wanted_now(turn: Make) -> None:
    assert turn({**KEY, "--save_every_n_epochs": "10"}, state=HALFWAY).continues == HALFWAY


def test_a_stopped_training_goes_on_with_sample_pictures_from_now_on(turn: Make) -> None:
    wanted = {**KEY, "--sample_every_n_epochs": "10", "--sample_prompts": "/prompts.txt"}
    assert turn(wanted, state=HALFWAY).continues == HALFWAY
    assert turn(KEY, state=HALFWAY, states_key=wanted).continues == HALFWAY


def test_how_a_training_was_logged_may_stand_in_its_key_and_means_nothing(turn: Make) -> None:
    logged = {**KEY, "--log_with": "tensorboard"}
    assert turn(KEY, done=logged, state=END, states_key=logged).fresh
    assert turn(KEY, state=HALFWAY, states_key=logged).continues == HALFWAY


def test_a_finished_training_whose_file_is_gone_makes_it_again_from_its_last_state(turn: Make, result: Path) -> None:
    result.unlink()
    why = "paper-high.safetensors is missing; continues at step 1,800 of 1,800"
    assert turn(KEY, done=KEY, state=END) == Turn(why, continues=END)
    assert turn(KEY, done=KEY) == Turn("paper-high.safetensors is missing")
    assert turn(KEY, done=KEY, state=END, states_key=OTHER) == Turn("paper-high.safetensors is missing")


@pytest.mark.parametrize("finished", [False, True])
def test_what_would_bend_the_training_is_refused_part_by_part(turn: Make, finished: bool) -> None:
    key = {**OTHER, "musubi": "other", "--save_every_n_epochs": "20"}
    made = turn(key, done=KEY if finished else None, state=END if finished else HALFWAY)
    assert refused(made) == [
        "train-high: learning_rate was 3e-4, is 1e-4",
        "train-high: musubi was v0.3.4, is other",
    ]
    assert made.refusal is not None
    assert not made.refusal.extendable


def test_what_the_datasets_settings_were_is_said_so_that_they_can_be_put_back(turn: Make) -> None:
    was, now = ({**KEY, "dataset settings": f"960×960 batch {size} repeats 1"} for size in (1, 2))
    (said,) = refused(turn(now, done=was, state=END, states_key=was))
    assert said.endswith("dataset settings were 960×960 batch 1 repeats 1, are 960×960 batch 2 repeats 1")


def test_a_finished_training_without_states_is_not_thrown_away_either(turn: Make) -> None:
    assert refused(turn(OTHER, done=KEY)) == ["train-high: learning_rate was 3e-4, is 1e-4"]


@pytest.mark.parametrize("finished", [False, True])
def test_a_longer_training_is_refused_until_it_is_called_an_extension(turn: Make, finished: bool) -> None:
    state = END if finished else HALFWAY
    key = {**LONGER, "--save_every_n_epochs": "10"}
    made = turn(key, done=KEY if finished else None, state=state)
    assert "train-high: epochs was 100, is 150" in refused(made)
    assert made.refusal is not None
    assert made.refusal.extendable
    extended = turn(key, done=KEY if finished else None, state=state, extend=True)
    assert extended.continues == state
    assert "epochs was 100, is 150" in extended.why
    assert extended.why.endswith(f"continues at step {state.step:,} of 2,700")


@pytest.mark.parametrize("key", [{**KEY, "--max_train_epochs": "50"}, {**LONGER, "--learning_rate": "1e-4"}, OTHER])
def test_only_more_epochs_or_steps_are_an_extension(turn: Make, key: dict[str, str]) -> None:
    for asked in (False, True):
        made = turn(key, done=KEY, state=END, extend=asked)
        assert refused(made)
        assert made.refusal is not None
        assert not made.refusal.extendable


@pytest.mark.parametrize(("state", "states_key"), [(None, None), (END, OTHER)])
def test_an_extension_needs_a_state_of_that_very_training(
    turn: Make, state: State | None, states_key: dict[str, str] | None
) -> None:
    made = turn(LONGER, done=KEY, state=state, states_key=states_key, extend=True)
    assert "train-high: no state of it is left, so it cannot be extended" in refused(made)


def test_states_of_unknown_origin_are_never_continued(turn: Make) -> None:
    (said,) = refused(turn(KEY, state=HALFWAY, states_key={}))
    assert "do not say what they were trained with" in said


@pytest.mark.parametrize("key", [KEY, OTHER])
@pytest.mark.parametrize("done", [None, KEY])
def test_a_restart_begins_anew_whatever_is_there(turn: Make, key: dict[str, str], done: dict[str, str] | None) -> None:
    for asked in ({"restart": frozenset({STEP})}, {"again": frozenset({STEP})}):
        made = turn(key, done=done, state=END if done else HALFWAY, **asked)
        assert made.anew
        assert made.continues is None
        assert made.refusal is None
        assert made.why.startswith("asked for")


def test_musubis_own_program_trains_again_as_it_always_did(turn: Make) -> None:
    assert turn(KEY, done=KEY, extension=False).fresh
    assert turn(OTHER, done=KEY, extension=False) == Turn("learning_rate was 3e-4, is 1e-4")
    assert turn(KEY, done=KEY, extension=False, again=frozenset({STEP})) == Turn("asked for")
    (said,) = refused(turn(LONGER, done=KEY, extension=False, extend=True))
    assert "cannot be extended" in said
    assert turn(KEY, extension=False) == Turn("not trained yet")


def test_musubis_own_program_does_not_throw_a_state_away(turn: Make) -> None:
    assert turn(KEY, done=KEY, state=END, extension=False).fresh
    made = turn(KEY, state=HALFWAY, extension=False)
    (said,) = refused(made)
    assert "has a state of step 900 of the trainer extension" in said
    with pytest.raises(RunFolderError, match=r"→ trainer: extension in run.yaml: goes on from it"):
        raise_refusals([step(STEP, made)], "wan22lora train run.yaml")
    assert turn(KEY, state=HALFWAY, extension=False, restart=frozenset({STEP})).anew
    assert turn(KEY, state=HALFWAY, extension=False, again=frozenset({STEP})) == Turn("asked for")


def step(step_id: str, made: Turn) -> Step:
    return Step(step_id, (), Path(), {}, refusal=made.refusal)  # type: ignore[arg-type]


def test_all_trainings_are_told_at_once_with_the_ways_out(turn: Make) -> None:
    longer, other = turn(LONGER, state=HALFWAY), turn(OTHER, state=HALFWAY)
    with pytest.raises(RunFolderError) as caught:
        raise_refusals([step("train-high", longer), step("train-low", other)], "wan22lora train run.yaml --extend")
    said = str(caught.value)
    assert caught.value.exit_code == 7
    assert "train-high and train-low cannot go on" in said
    assert "epochs was 100, is 150" in said
    assert "learning_rate was 3e-4, is 1e-4" in said
    assert "→ wan22lora train run.yaml --restart:" in said
    assert "--extend" not in said
    assert "→ put that back: train-high goes on at step 900" in said
    with pytest.raises(RunFolderError, match=r"→ wan22lora train run.yaml --extend:"):
        raise_refusals([step("train-high", longer)], "wan22lora train run.yaml")
    raise_refusals([step("train-high", turn(KEY, state=HALFWAY))], "wan22lora train run.yaml")


def test_what_changed_for_both_trainings_is_said_once(turn: Make) -> None:
    both = [step(name, turn(OTHER, done=KEY, state=END, step=name)) for name in ("train-high", "train-low")]
    with pytest.raises(RunFolderError) as caught:
        raise_refusals(both, "wan22lora train run.yaml")
    assert str(caught.value).count("learning_rate was 3e-4") == 1
    assert "train-high and train-low: learning_rate was 3e-4, is 1e-4" in str(caught.value)
    assert "→ put that back: train-high is finished, train-low is finished" in str(caught.value)


def test_a_difference_is_told_in_the_words_of_run_yaml() -> None:
    before, now = {"--network_dim": "16", "--sdpa": "on"}, {"--network_dim": "8", "--network_alpha": "8"}
    assert list(differences(before, now).values()) == ["rank was 16, is 8", "--sdpa on is gone", "alpha 8 is new"]


def test_a_finished_training_is_finished_again_once_its_settings_are_back(turn: Make) -> None:
    with pytest.raises(RunFolderError, match="→ put that back: train-high is finished"):
        raise_refusals([step(STEP, turn(OTHER, done=KEY, state=END))], "wan22lora train run.yaml")
    with pytest.raises(RunFolderError) as caught:
        raise_refusals([step(STEP, turn(KEY, state=HALFWAY, states_key={}))], "wan22lora train run.yaml")
    assert "put that back" not in str(caught.value)  # nobody knows what there was


def test_a_refused_rehearsal_says_that_nothing_is_at_stake(turn: Make) -> None:
    with pytest.raises(RunFolderError, match="--rehearse --restart: rehearses anew; nothing was trained"):
        raise_refusals([step(STEP, turn(OTHER, done=KEY, state=END))], "wan22lora train run.yaml --rehearse")
