"""What a plan costs: no file is opened twice, whatever the number of pictures, and an unchanged one not hashed."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from wan22lora.dataset import memory
from wan22lora.machine.settings import Machine
from wan22lora.musubi.safetensors import write
from wan22lora.plan.build import prepare
from wan22lora.plan.prepared import Prepared
from wan22lora.run.caching import settle
from wan22lora.run.carry_out import read_history
from wan22lora.spec.load import load_spec

_counting: list[Counter[str]] = []


def _count(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _counting and isinstance(arguments[0], str):
        _counting[-1][arguments[0]] += 1


sys.addaudithook(_count)


@contextmanager
def opened(under: Path) -> Iterator[Counter[str]]:
    """How often each file below a folder is opened meanwhile."""
    _counting.append(Counter())
    found: Counter[str] = Counter()
    yield found
    found.update({path: count for path, count in _counting.pop().items() if path.startswith(f"{under}/")})


@pytest.fixture
def cost(tmp_path: Path, machine: Machine) -> Callable[[int], tuple[Counter[str], Counter[str], Prepared]]:
    """The files opened by the first and by an unchanged plan for so many pictures, and that second plan."""

    def planned(count: int) -> tuple[Counter[str], Counter[str], Prepared]:
        place = tmp_path / str(count)
        (place / "pictures").mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (64, 64), (number, 90, 40)).save(place / "pictures" / f"{number:02d}.png")
            (place / "pictures" / f"{number:02d}.txt").write_text(f"picture {number}", encoding="utf-8")
        (place / "run.yaml").write_text("name: a\npreset: article-wan22\nimages: pictures\n", encoding="utf-8")
        spec = load_spec(place / "run.yaml")
        with opened(place) as first:
            prepared = prepare(spec, machine, read_history(spec.folder))
        for state in prepared.caches.values():
            for path, key in state.expected.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                write(path, {"x": ("U8", (1,), b"x")}, {"caption1": key.get("caption", "")})
            settle(state, spec.folder / "cache", prepared.contents)
        with opened(place) as second:
            again = prepare(spec, machine, read_history(spec.folder))
        return first, second, again

    return planned


def test_an_unchanged_plan_opens_each_picture_and_caption_once_and_no_sealed_latents(
    cost: Callable[[int], tuple[Counter[str], Counter[str], Prepared]],
) -> None:
    _, opens, prepared = cost(12)
    assert all(step.fresh for step in prepared.plan.steps[:2])
    assert set(opens.values()) == {1}
    assert sum(path.endswith(".png") for path in opens) == 12
    assert sum(path.endswith("_te.safetensors") for path in opens) == 12
    assert sum(path.endswith(".safetensors") for path in opens) == 12


def test_a_plan_opens_no_picture_that_another_command_has_seen(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "SETTLED", -60.0)  # the picture has only just been written
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("a", encoding="utf-8")
    (tmp_path / "run.yaml").write_text("name: a\npreset: article-wan22\nimages: .\n", encoding="utf-8")
    spec = load_spec(tmp_path / "run.yaml")

    def pictures_opened() -> int:
        seen = memory.Memory(tmp_path / "seen")
        with opened(tmp_path) as files:
            prepare(spec, machine, read_history(spec.folder), memory=seen)
        seen.save()
        return files[str(tmp_path / "a.png")]

    assert pictures_opened() == 2  # its header, then all of it for its digest
    assert pictures_opened() == 0


def test_files_opened_grow_with_the_pictures_and_no_faster(
    cost: Callable[[int], tuple[Counter[str], Counter[str], Prepared]],
) -> None:
    few, more, most = (cost(count)[:2] for count in (5, 10, 20))
    for kind in (0, 1):
        small, medium, large = (sum(each[kind].values()) for each in (few, more, most))
        assert large - medium == 2 * (medium - small)
