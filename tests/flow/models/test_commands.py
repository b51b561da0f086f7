"""`wan22lora models list|fetch|verify|use` as a person types them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from wan22lora.cli.app import run
from wan22lora.machine.settings import read_machine
from wan22lora.models import catalogue
from wan22lora.musubi.safetensors import write

from .conftest import Machine
from .hub_server import Content, Hosted

Said = Callable[..., tuple[int, str]]

SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "t2v": {"blocks.0.cross_attn.k.weight": (2, 2), "patch_embedding.weight": (2, 16, 1, 2, 2)},
    "i2v": {"blocks.0.cross_attn.k.weight": (2, 2), "patch_embedding.weight": (2, 36, 1, 2, 2)},
    "fp8_scaled": {
        "blocks.0.cross_attn.k.weight": (2, 2),
        "scaled_fp8": (2,),
        "patch_embedding.weight": (2, 16, 1, 2, 2),
    },
    "diffusers": {"blocks.0.attn2.to_k.weight": (2, 2)},
    "vae": {"encoder.conv1.weight": (96, 3, 3, 3, 3), "decoder.conv1.weight": (384, 16, 3, 3, 3)},
    "vae-5b": {"encoder.conv1.weight": (160, 12, 3, 3, 3), "decoder.conv1.weight": (1024, 48, 3, 3, 3)},
}


def weights(path: Path, kind: str, seed: int = 0) -> Path:
    """A file with the header of such a model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, shape in SHAPES[kind].items():
        count = 2
        for side in shape:
            count *= side
        tensors[name] = ("F16", shape, random.Random(seed).randbytes(count))
    write(path, tensors, {})
    return path


@pytest.fixture
def said(machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Said:
    """Runs a command line on a hub that has every file of the catalogue, small; returns exit code and output."""
    (tmp_path / "machine.yaml").write_text(f"# mine\nmodels: {machine.models}\n")
    small = []
    for seed, entry in enumerate(catalogue.CATALOGUE):
        made = tmp_path / "hub" / entry.file_name
        kind = {"vae": "vae", "high": entry.name[:3], "low": entry.name[:3], "dit": "t2v"}.get(entry.role)
        if kind:
            weights(made, kind, seed)
        else:
            made.write_bytes(random.Random(seed).randbytes(1000))
        content = Content(made.read_bytes())
        machine.hub.add(entry.repository, entry.path, Hosted(content, entry.revision or "", large=entry.size > 1e6))
        small.append(replace(entry, size=content.size, sha256=content.sha256 if entry.sha256 else None))
    monkeypatch.setattr(catalogue, "CATALOGUE", tuple(small))
    monkeypatch.setattr("wan22lora.models.verify.CATALOGUE", tuple(small))

    def command(*argv: str) -> tuple[int, str]:
        code = run(["models", *argv])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return command


def test_list_fetch_verify_and_the_tokenizer_as_huggingface_finds_it(said: Said, machine: Machine) -> None:
    assert said("list", "--task", "t2v-A14B")[1].count("missing") == 5
    code, text = said("fetch", "--dry-run")
    assert (code, machine.hub.requests, machine.models.exists()) == (0, [], False)
    assert "to fetch into" in text
    code, text = said("fetch")
    assert code == 0, text
    assert "Fetched and checked: vae, t5, tokenizer, t2v-high, t2v-low" in text
    code, text = said("list", "--task", "t2v-A14B")
    assert text.count("  here") == 5
    code, text = said("verify")
    assert code == 0, text
    assert text.count("is right (sha256") == 8

    from huggingface_hub import hf_hub_download

    found = hf_hub_download(
        "Wan-AI/Wan2.1-T2V-14B",
        "google/umt5-xxl/tokenizer.json",
        cache_dir=machine.models / "hub",
        local_files_only=True,
    )
    assert Path(found).stat().st_size == 1000
    assert read_machine().hub == machine.models / "hub"


def test_a_file_of_another_kind_is_kept_and_every_command_says_where(said: Said, machine: Machine) -> None:
    place = machine.models / "vae" / "wan_2.1_vae.safetensors"
    mine = weights(place, "vae-5b").read_bytes()
    kept = place.with_name(f"{place.name}.previous")
    code, text = said("fetch", "vae", "--dry-run")
    assert f"{place} is the VAE of Wan 2.2's 5B model" in text
    assert f"it will be kept as {kept.name}" in text
    code, text = said("fetch", "vae")
    assert code == 0, text
    assert kept.read_bytes() == mine
    code, text = said("list")
    assert f"if nobody wants it:\n  rm {kept}\n" in text
    assert said("fetch", "vae")[1].startswith("Everything is here")
    kept.unlink()
    assert "kept" not in said("list")[1]


def test_one_file_by_its_name_or_by_its_key_in_run_yaml(said: Said, machine: Machine) -> None:
    assert said("fetch", "i2v-low")[0] == 0
    assert said("fetch", "high", "--task", "i2v-A14B")[0] == 0
    kept = sorted(path.name for path in (machine.models / "diffusion_models").iterdir())
    assert kept == ["wan2.2_i2v_high_noise_14B_fp16.safetensors", "wan2.2_i2v_low_noise_14B_fp16.safetensors"]
    code, text = said("fetch", "nonsense")
    assert code == 2
    assert "names: vae, t5, tokenizer" in text


def test_verify_says_that_there_is_nothing_to_read(said: Said, machine: Machine) -> None:
    code, text = said("verify")
    assert (code, text) == (0, f"nothing to verify: no weights are in {machine.models}\n")


def test_verify_finds_a_changed_byte_and_a_swapped_pair(said: Said, machine: Machine) -> None:
    assert said("fetch", "--task", "t2v-A14B")[0] == 0
    folder = machine.models / "diffusion_models"
    high, low = (folder / f"wan2.2_t2v_{name}_noise_14B_fp16.safetensors" for name in ("high", "low"))
    aside = high.rename(folder / "aside")
    low.rename(high)
    aside.rename(low)
    vae = machine.models / "vae/wan_2.1_vae.safetensors"
    vae.write_bytes(vae.read_bytes()[:-1] + b"!")
    code, text = said("verify")
    assert code == 4
    assert "is really t2v-low" in text
    assert "is really t2v-high" in text
    assert "vae: " in text
    assert "is not the file of the hub" in text


def test_verify_asks_the_hub_about_a_file_that_was_not_fetched(said: Said, machine: Machine, tmp_path: Path) -> None:
    name = "wan2.2_t2v_high_noise_14B_fp16.safetensors"
    place = machine.models / "diffusion_models" / name
    place.parent.mkdir(parents=True)
    place.write_bytes((tmp_path / "hub" / name).read_bytes())
    assert "is right" in said("verify", "t2v-high")[1]
    asked = len(machine.hub.requests)
    assert "is right" in said("verify", "t2v-high")[1]
    assert len(machine.hub.requests) == asked == 1


def test_a_comfyui_folder_is_recorded_and_what_it_lacks_goes_into_it(
    said: Said, machine: Machine, tmp_path: Path
) -> None:
    comfy = tmp_path / "ComfyUI"
    weights(comfy / "models/unet/wan/wan2.2_t2v_high_noise_14B_fp16.safetensors", "t2v")
    weights(comfy / "models/diffusion_models/wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors", "fp8_scaled")
    weights(comfy / "models/vae/wan_2.1_vae.safetensors", "vae")
    (comfy / "models/loras").mkdir()
    code, text = said("use", str(comfy), "--task", "t2v-A14B")
    assert code == 0, text
    assert "fp8_scaled" in text
    assert "not there: t5, t2v-low" in text
    assert (tmp_path / "machine.yaml").read_text() == f"# mine\nmodels: {comfy / 'models'}\n"
    assert said("fetch")[0] == 0
    assert (comfy / "models/diffusion_models/wan2.2_t2v_low_noise_14B_fp16.safetensors").is_file()
    assert not (comfy / "models/diffusion_models/wan2.2_t2v_high_noise_14B_fp16.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("diffusion_models/wan2.2_t2v_high_noise_14B_fp16.safetensors", "i2v", "expert for image-to-video"),
        ("diffusion_models/wan2.2_t2v_low_noise_14B_fp16.safetensors", "fp8_scaled", "fp8_scaled"),
        ("diffusion_models/wan2.2_t2v_low_noise_14B_fp16.safetensors", "diffusers", "diffusers' layout"),
        ("vae/wan_2.1_vae.safetensors", "vae-5b", "5B"),
    ],
)
def test_a_folder_with_something_else_under_a_known_name_is_refused(
    said: Said, tmp_path: Path, name: str, kind: str, reason: str
) -> None:
    weights(tmp_path / "comfy" / name, kind)
    before = (tmp_path / "machine.yaml").read_text()
    code, text = said("use", str(tmp_path / "comfy"), "--task", "t2v-A14B")
    assert code == 4
    assert reason in text
    assert (tmp_path / "machine.yaml").read_text() == before


def test_one_file_is_linked_under_the_name_that_is_looked_for(said: Said, machine: Machine, tmp_path: Path) -> None:
    mine = weights(tmp_path / "else/My_T2V_HighNoise.safetensors", "t2v")
    code, text = said("use", str(mine))
    assert code == 0, text
    link = machine.models / "diffusion_models/wan2.2_t2v_high_noise_14B_fp16.safetensors"
    assert link.resolve() == mine
    assert "is used as t2v-high" in text
    assert "t2v-high" not in said("fetch", "--dry-run")[1]


def test_a_file_whose_name_tells_nothing_is_asked_about(said: Said, tmp_path: Path) -> None:
    mine = weights(tmp_path / "model.safetensors", "t2v")
    code, text = said("use", str(mine))
    assert code == 2
    assert "--as t2v-high or --as t2v-low or --as wan21-t2v" in text
    assert said("use", str(mine), "--as", "t2v-low")[0] == 0


@pytest.mark.parametrize(
    ("name", "content", "options", "reason"),
    [
        ("wan_low_noise.safetensors", "t2v", ("--as", "t2v-high"), "low-noise expert by its name"),
        ("wan_i2v_high.safetensors", "i2v", ("--task", "t2v-A14B"), "expert for image-to-video"),
        ("Wan2.2_VAE.safetensors", "vae-5b", (), "VAE of Wan 2.2's 5B model"),
        ("Wan2.2-T2V-HighNoise-Q8_0.gguf", b"GGUF" + bytes(100), (), "GGUF"),
        ("diffusion_pytorch_model-00001-of-00006.safetensors", "diffusers", (), "diffusers' layout"),
        ("x.safetensors", b"<!DOCTYPE html>" + bytes(100), (), "web page"),
    ],
)
def test_a_wrong_file_is_refused_as_what_it_is(
    said: Said, machine: Machine, tmp_path: Path, name: str, content: str | bytes, options: tuple[str, ...], reason: str
) -> None:
    path = tmp_path / name
    if isinstance(content, str):
        weights(path, content)
    else:
        path.write_bytes(content)
    code, text = said("use", str(path), *options)
    assert code == 4
    assert reason in text
    assert not machine.models.exists()


def test_a_folder_that_does_not_exist_is_not_recorded(said: Said, tmp_path: Path) -> None:
    code, text = said("use", str(tmp_path / "a typo"))
    assert code == 4
    assert f"mkdir -p '{tmp_path / 'a typo'}'" in text
    assert "did you mean" not in text
    (tmp_path / "ComfyUI").mkdir()
    code, text = said("use", str(tmp_path / "ComfiUI"))
    assert code == 4
    assert f"did you mean {tmp_path / 'ComfyUI'}?" in text


def test_a_task_that_does_not_exist_is_named(said: Said) -> None:
    code, text = said("list", "--task", "t2v")
    assert code == 2
    assert "tasks: t2v-A14B, i2v-A14B, t2v-14B" in text
