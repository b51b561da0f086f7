"""Run by musubi-tuner's Python on a CUDA machine: writes random weights of the released files' sizes into argv[1].

The expert is written tensor by tensor, so that neither RAM nor the GPU ever holds its 28.6 GB.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from accelerate import init_empty_weights
from musubi_tuner.wan.configs import WAN_CONFIGS
from musubi_tuner.wan.modules.model import WanModel
from musubi_tuner.wan.modules.t5 import umt5_xxl
from musubi_tuner.wan.modules.vae import WanVAE_
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

REVISION = "5ca1ab1e" * 5
WRITERS = 12


def draw(name, shape, generator):
    """Norms that change nothing, no biases, matrices that keep the size of what goes through them."""
    if len(shape) <= 1:
        return torch.full(shape, float(name.endswith("weight")), device="cuda")
    return torch.randn(shape, device="cuda", generator=generator) * torch.Size(shape[1:]).numel() ** -0.5


def write_expert(path):
    config = WAN_CONFIGS["t2v-A14B"]
    sizes = {key: config[key] for key in ("dim", "ffn_dim", "freq_dim", "in_dim", "num_heads", "num_layers")}
    with init_empty_weights():
        model = WanModel(model_type="t2v", model_version="2.2", **sizes)
    shapes = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    entries, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + torch.Size(shape).numel() * 2
        entries[name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    base = 8 + len(header)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(base + end)
    generator = torch.Generator(device="cuda").manual_seed(1)

    def put(name, data):
        with path.open("r+b") as file:
            file.seek(base + entries[name]["data_offsets"][0])
            file.write(data.numpy())

    with ThreadPoolExecutor(WRITERS) as pool:
        jobs = []
        for name, shape in shapes.items():
            jobs.append(pool.submit(put, name, draw(name, shape, generator).half().cpu()))
            if len(jobs) > 2 * WRITERS:
                jobs.pop(0).result()
        for job in jobs:
            job.result()


def write_t5(path):
    with init_empty_weights():
        model = umt5_xxl(encoder_only=True, return_tokenizer=False)
    generator = torch.Generator(device="cuda").manual_seed(2)
    weights = {
        name: draw(name, weight.shape, generator).bfloat16().cpu() for name, weight in model.state_dict().items()
    }
    torch.save(weights, path)


def write_vae(path):
    torch.manual_seed(0)
    model = WanVAE_(dim=96, z_dim=16, dim_mult=[1, 2, 4, 4], temperal_downsample=[False, True, True])
    save_file(model.to(torch.bfloat16).state_dict(), path)


def write_tokenizer(hf_home):
    repository = hf_home / "hub" / "models--Wan-AI--Wan2.1-T2V-14B"
    folder = repository / "snapshots" / REVISION / "google" / "umt5-xxl"
    folder.mkdir(parents=True, exist_ok=True)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(REVISION)
    pieces = ["<pad>", "</s>", "<unk>", *map(chr, range(32, 127))]
    tokenizer = Tokenizer(models.WordLevel({piece: rank for rank, piece in enumerate(pieces)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    marks = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, **marks}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "config.json").write_text("{}")  # transformers 5 asks the hub for one that is not there


def main(folder):
    write_tokenizer(folder / "hf_home")
    write_vae(folder / "wan_2.1_vae.safetensors")
    write_t5(folder / "models_t5_umt5-xxl-enc-bf16.pth")
    high = folder / "wan2.2_t2v_high_noise_14B_fp16.safetensors"
    write_expert(high)
    (folder / "wan2.2_t2v_low_noise_14B_fp16.safetensors").hardlink_to(high)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
