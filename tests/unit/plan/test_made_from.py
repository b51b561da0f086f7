"""What changed of the pictures and captions since a training, in words."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from wan22lora.plan.made_from import changes_in_words

Records = Mapping[str, Mapping[str, str]]


def picture(stem: str, content: str = "x", caption: str = "y", size: str = "0064x0064", dataset: int = 0) -> Records:
    return {
        f"{dataset}/{stem}_{size}_wan.safetensors": {"content": content, "bucket": "64×64", "vae": "v"},
        f"{dataset}/{stem}_wan_te.safetensors": {"caption": caption, "t5": "t"},
        f"{dataset}/class-1a2b3c4d/{stem}_wan_te.safetensors": {"caption": f"class {caption}", "t5": "t"},
    }


def change(records: Records, **parts: str) -> Records:
    return {
        name: {part: parts.get(part, value) for part, value in key.items()} if "class-" not in name else key
        for name, key in records.items()
    }


BEFORE = {**picture("a"), **picture("b_c"), **picture("d")}


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (BEFORE, ""),
        ({**BEFORE, **picture("a", caption="z")}, "a (caption edited)"),
        ({**BEFORE, **picture("b_c", content="z")}, "b_c (replaced)"),
        ({**BEFORE, **picture("e")}, "e (added)"),
        ({**picture("a"), **picture("d")}, "b_c (gone)"),
        ({**picture("a"), **picture("b_c"), **picture("d", size="0080x0064", content="z")}, "d (other size or frames)"),
        (change(BEFORE, vae="w"), "all (other VAE)"),
        (
            {**picture("a", caption="z"), **picture("d", caption="z"), **picture("e")},
            "a, d (caption edited); b_c (gone); e (added)",
        ),
        ({**BEFORE, "0/class-1a2b3c4d/a_wan_te.safetensors": {"caption": "z", "t5": "t"}}, "a (class caption changed)"),
        ({name: key for name, key in BEFORE.items() if "class-" not in name}, ""),
    ],
)
def test_changes_are_told_by_item(now: Records, words: str) -> None:
    assert changes_in_words(BEFORE, now) == words


def test_several_datasets_are_told_apart() -> None:
    before = {**picture("a"), **picture("a", dataset=1)}
    assert changes_in_words(before, {**before, **picture("a", caption="z", dataset=1)}) == "1/a (caption edited)"


def test_windows_of_a_clip_are_one_item() -> None:
    def clip(*starts: int) -> Records:
        key = {"content": "x", "bucket": "64×64×5", "fps": "16.0"}
        return {f"0/walk_{start:05d}-005_0064x0064_wan.safetensors": key for start in starts}

    assert changes_in_words(clip(0), clip(0, 5)) == "walk (other size or frames)"
