from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan22lora.musubi import names
from wan22lora.musubi.names import Checkpoint, Saving

counts = st.integers(min_value=1, max_value=200)


def files(saving: Saving, *, epochs: int = 3, steps: int = 18) -> list[str]:
    return [checkpoint.file for checkpoint in names.saved("t", epochs=epochs, steps=steps, saving=saving).checkpoints]


def test_a_run_leaves_what_the_real_trainer_left() -> None:
    """Seen with v0.3.4: three epochs of six steps, a checkpoint per epoch and per five steps, one epoch kept."""
    saved = names.saved(
        "t", epochs=3, steps=18, saving=Saving(every_epochs=1, every_steps=5, last_epochs=1, state=True)
    )
    assert {checkpoint.file for checkpoint in saved.checkpoints} | set(saved.states) == {
        "t-000002-state", "t-000002.safetensors", "t-state",
        "t-step00000005-state", "t-step00000005.safetensors",
        "t-step00000010-state", "t-step00000010.safetensors",
        "t-step00000015-state", "t-step00000015.safetensors",
        "t.safetensors",
    }  # fmt: skip


def test_the_last_epoch_appears_under_the_final_name_only() -> None:
    assert files(Saving(every_epochs=100), epochs=100, steps=1800) == ["t.safetensors"]
    assert files(Saving(every_epochs=1), epochs=2) == ["t-000001.safetensors", "t.safetensors"]


def test_the_last_step_appears_under_both_names() -> None:
    assert files(Saving(every_steps=9)) == ["t-step00000009.safetensors", "t-step00000018.safetensors", "t.safetensors"]


def test_last_steps_counts_steps_not_files() -> None:
    kept = files(Saving(every_steps=10, last_steps=30), steps=50)
    assert kept[:-1] == [names.step_file("t", step) for step in (20, 30, 40, 50)]


def test_states_have_their_own_limits_and_fall_back_to_those_of_checkpoints() -> None:
    saving = Saving(every_epochs=1, last_epochs=3, last_epochs_state=1, state=True)
    assert names.saved("t", epochs=6, steps=6, saving=saving).states == ("t-000005-state", "t-state")
    saving = Saving(every_epochs=1, last_epochs=2, last_epochs_state=0, state=True)
    assert names.saved("t", epochs=6, steps=6, saving=saving).states == ("t-000004-state", "t-000005-state", "t-state")


def test_a_state_at_the_end_alone() -> None:
    assert names.saved("t", epochs=3, steps=9, saving=Saving(every_epochs=1, state_at_end=True)).states == ("t-state",)
    assert names.saved("t", epochs=3, steps=9, saving=Saving()).states == ()


def test_keeping_no_epochs_removes_each_as_it_is_saved() -> None:
    assert files(Saving(every_epochs=1, last_epochs=0)) == ["t.safetensors"]


@given(every=counts, epochs=counts, keep=counts)
def test_the_newest_epochs_are_kept(every: int, epochs: int, keep: int) -> None:
    expected = [epoch for epoch in range(1, epochs) if epoch % every == 0][-keep:]
    kept = files(Saving(every_epochs=every, last_epochs=keep), epochs=epochs, steps=epochs)
    assert kept == [*(names.epoch_file("t", epoch) for epoch in expected), "t.safetensors"]


@given(every=counts, steps=counts, keep=st.integers(min_value=0, max_value=200))
def test_steps_are_kept_for_as_long_as_asked(every: int, steps: int, keep: int) -> None:
    saves = [step for step in range(1, steps + 1) if step % every == 0]
    expected = [step for step in saves if step > saves[-1] - keep - 1 - (saves[-1] - keep - 1) % every]
    kept = files(Saving(every_steps=every, last_steps=keep), steps=steps)
    assert kept == [*(names.step_file("t", step) for step in expected), "t.safetensors"]


@given(name=st.text(alphabet="ab-.0[", min_size=1, max_size=8), number=st.integers(min_value=1, max_value=10**9))
def test_a_checkpoints_name_is_read_back(name: str, number: int) -> None:
    for file, expected in (
        (names.epoch_file(name, number), Checkpoint(names.epoch_file(name, number), epoch=number)),
        (names.step_file(name, number), Checkpoint(names.step_file(name, number), step=number)),
        (names.final_file(name), Checkpoint(names.final_file(name))),
    ):
        assert names.checkpoint_of(name, file) == expected


@pytest.mark.parametrize(
    "file", ["t-1.safetensors", "t-000001", "u.safetensors", "t-state", "t-000001.safetensors.tmp"]
)
def test_other_files_are_no_checkpoints(file: str) -> None:
    assert names.checkpoint_of("t", file) is None
