from __future__ import annotations

import re
from pathlib import Path

import pytest

from wan22lora.errors import SpecError
from wan22lora.models.catalogue import CATALOGUE, TASK_NAMES, files_named, files_of
from wan22lora.musubi.weights import guess_from_name
from wan22lora.spec.tasks import TaskName


def test_every_file_has_a_place_of_its_own_and_a_pinned_commit() -> None:
    assert len({file.relative for file in CATALOGUE}) == len(CATALOGUE)
    for file in CATALOGUE:
        assert re.fullmatch("[0-9a-f]{40}", file.revision or "")
        assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)


@pytest.mark.parametrize("task", TASK_NAMES)
def test_a_task_gets_a_file_for_each_expert_after_the_shared_ones(task: TaskName) -> None:
    roles = list(dict.fromkeys(file.role for file in files_of(task)))
    experts = ["dit"] if task == "t2v-14B" else ["high", "low"]
    assert roles == ["vae", "t5", "tokenizer", *experts]


def test_the_usual_names_are_recognised_as_what_they_are() -> None:
    for file in CATALOGUE:
        if file.folder == "diffusion_models":
            facts = guess_from_name(Path(file.file_name))
            assert facts.kind == "wan-dit"
            assert facts.task == ("i2v" if "i2v-A14B" in file.tasks else "t2v")
            assert facts.expert == (None if file.role == "dit" else file.role)


def test_files_are_named_in_any_order_and_come_in_that_of_fetching() -> None:
    assert [file.name for file in files_named(["t2v-low", "vae"], None)] == ["vae", "t2v-low"]
    assert [file.name for file in files_named(["low"], "i2v-A14B")] == ["i2v-low"]
    with pytest.raises(SpecError, match="no model file called low"):
        files_named(["low"], None)
    with pytest.raises(SpecError, match="called t2v-high of i2v-A14B"):
        files_named(["t2v-high"], "i2v-A14B")
