"""Both revisions' own parsers and dataset reader against everything that any preset produces."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from PIL import Image

from wan22lora.machine.settings import Machine
from wan22lora.musubi.programs import CACHE_LATENTS, CACHE_TEXT, TRAIN
from wan22lora.plan.build import prepare
from wan22lora.plan.prepared import History, Prepared
from wan22lora.spec.load import load_spec
from wan22lora.spec.presets import preset_names
from wan22lora.spec.template import wants_clips
from wan22lora.trainer.options import OPTIONS

from ..argv import option_tokens
from .environment import SmallModels, make_environment, parse_only

PROGRAMS = {"cache-latents": CACHE_LATENTS, "cache-text": CACHE_TEXT}
HARDWARE = ("16gb", "24gb", "48gb", "80gb")
READ_DATASET = """
import argparse, json, sys
from musubi_tuner.dataset import config_utils
from musubi_tuner.dataset.config_utils import BlueprintGenerator, ConfigSanitizer
for path in sys.argv[1:]:
    config = config_utils.load_user_config(path)
    blueprint = BlueprintGenerator(ConfigSanitizer()).generate(config, argparse.Namespace(), architecture="wan")
    group = config_utils.generate_dataset_group_by_blueprint(blueprint.dataset_group)
    read = [[list(d.resolution), d.batch_size, d.num_repeats, d.cache_directory] for d in group.datasets]
    print("READ " + json.dumps(read))
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Prepared]]:
    """The plans of every preset on every hardware class, at one revision."""
    place = tmp_path_factory.mktemp("presets")
    (place / "pictures").mkdir()
    (place / "clips").mkdir()
    Image.new("RGB", (96, 64)).save(place / "pictures" / "a.png")
    with av.open(str(place / "clips" / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(120):
            container.mux(stream.encode(av.VideoFrame(64, 64, "rgb24")))
        container.mux(stream.encode())
    for caption in ("pictures/a.txt", "clips/a.txt"):
        (place / caption).write_text("zxq, a thing", encoding="utf-8")
    machine = Machine(place / "musubi", "a test", place / "python", place / "models")

    def plans(pin: str) -> list[Prepared]:
        found = []
        for preset in preset_names():
            source = "videos: clips" if wants_clips(preset) else "images: pictures"
            for hardware in HARDWARE:
                path = place / f"{preset}-{hardware}-{pin}.yaml"
                own = "" if pin == "v0.3.4" else "train: {preservation: null}\n"
                path.write_text(
                    f"name: {path.stem}\npreset: {preset}\n{source}\nhardware: {hardware}\npin: {pin}\n"
                    f"trigger: zxq\n{own}",
                    encoding="utf-8",
                )
                found.append(prepare(load_spec(path), machine, History()))
        return found

    return plans


def musubis_own(argv: tuple[str, ...]) -> list[str]:
    """The options of a step that musubi's parser is to understand: those of the trainer extension left out."""
    tokens = iter(option_tokens(argv))
    own = {f"--{option.name}" for option in OPTIONS}
    kept = []
    for token in tokens:
        if token in own:
            next(tokens)
        elif token.split("=")[0] not in own:
            kept.append(token)
    return kept


@pytest.mark.parametrize("pin", ["v0.3.4", "article"])
def test_both_revisions_accept_every_argv_of_every_preset(
    pin: str,
    prepared: Callable[[str], list[Prepared]],
    musubi_python: Path,
    small_models: SmallModels,
    request: pytest.FixtureRequest,
) -> None:
    checkout: Path = request.getfixturevalue("musubi_checkout" if pin == "v0.3.4" else "article_checkout")
    environment = make_environment(checkout, small_models.hf_home)
    steps = [step for plan in prepared(pin) for step in plan.plan.steps]
    assert len(steps) > 4 * 4 * len(preset_names()) * 0.9
    for program in (CACHE_LATENTS, CACHE_TEXT, TRAIN):
        argvs = [musubis_own(step.argv) for step in steps if PROGRAMS.get(step.id, TRAIN) == program]
        assert all(argvs)
        answers = parse_only(musubi_python, checkout, program, argvs, environment)
        assert [answer for answer in answers if answer is not None] == []


@pytest.mark.parametrize("pin", ["v0.3.4", "article"])
def test_musubis_own_reader_accepts_every_dataset_toml(
    pin: str,
    prepared: Callable[[str], list[Prepared]],
    musubi_python: Path,
    small_models: SmallModels,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    checkout: Path = request.getfixturevalue("musubi_checkout" if pin == "v0.3.4" else "article_checkout")
    plans = prepared(pin)
    paths = []
    for index, plan in enumerate(plans):
        paths.append(tmp_path / f"{index}.toml")
        paths[-1].write_text(plan.plan.files[0].content, encoding="utf-8")
    done = subprocess.run(
        [str(musubi_python), "-c", READ_DATASET, *map(str, paths)],
        env=make_environment(checkout, small_models.hf_home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    read = [json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("READ ")]
    expected = [
        [
            [list(scan.source.resolution), scan.source.batch_size, scan.source.repeats, str(scan.source.cache)]
            for scan in plan.scans
        ]
        for plan in plans
    ]
    assert read == expected
