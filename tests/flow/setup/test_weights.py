"""The weights, from a hub on loopback, as the last step of a setup."""

from __future__ import annotations

import json
import random

from wan22lora.models.catalogue import CATALOGUE

from ..models.hub_server import Content, Hosted, HubServer
from .conftest import Box


def test_weights_are_fetched_last_and_in_the_order_of_use(quick_box: Box) -> None:
    sizes = {}
    with HubServer().running() as hub:
        for seed, entry in enumerate(CATALOGUE):
            content = Content(random.Random(seed).randbytes(1000 + seed))
            hub.add(entry.repository, entry.path, Hosted(content, entry.revision or "", large=entry.size > 1e6))
            sizes[entry.path] = content.size
        environment = {"HF_ENDPOINT": hub.endpoint, "NO_PROXY": "127.0.0.1", "TEST_SIZES": json.dumps(sizes)}
        words = ("--yes", "--musubi-repo", quick_box.origin.url)
        process = quick_box.start(*words, **environment)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
        assert output.index("machine.yaml") < output.index("Weights of t2v-A14B")
        models = quick_box.data / "models"
        fetched = sorted(path.name for path in models.rglob("*") if path.suffix in (".safetensors", ".pth", ".model"))
        assert fetched == [
            "models_t5_umt5-xxl-enc-bf16.pth",
            "spiece.model",
            "wan2.2_t2v_high_noise_14B_fp16.safetensors",
            "wan2.2_t2v_low_noise_14B_fp16.safetensors",
            "wan_2.1_vae.safetensors",
        ]
        vae = models / "vae" / "wan_2.1_vae.safetensors"
        vae.write_bytes(b"cut")
        process = quick_box.start("--dry-run", *words, **environment)
        output, _ = process.communicate(timeout=60)
        assert f"{vae} is cut short" in output
        assert f"it will be kept as {vae.name}.previous" in output
        process = quick_box.start(*words, **environment)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
        assert "vae missing or not whole" in output
        assert f"rm {vae}.previous" in output
        assert vae.with_name(f"{vae.name}.previous").read_bytes() == b"cut"
        process = quick_box.start(*words, **environment)
        output, _ = process.communicate(timeout=60)
        assert "all of them are there" in output
