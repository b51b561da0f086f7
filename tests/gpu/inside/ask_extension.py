"""Run by musubi-tuner's Python on a CUDA machine: what the trainer extension does under each memory option, as JSON.

A Wan of ten blocks, written as fp16 and held as fp8. Without CUDA only the way without swapped blocks is tried.
"""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[3] / "src"))
sys.path.insert(0, str(Path(__file__).parents[2] / "real" / "inside"))

import small_training as small
from musubi_tuner.wan.configs import WAN_CONFIGS
from musubi_tuner.wan.modules.model import WanModel, load_wan_model
from safetensors.torch import load_file, save_file

from wan22lora.trainer.loading import loading
from wan22lora.trainer.preservation import Preservation
from wan22lora.trainer.validation import Validation

FOLDER = "class-0badcafe"
CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
WAYS = {
    "nothing": [],
    "checkpointing": ["--gradient_checkpointing"],
    "offload": ["--gradient_checkpointing", "--gradient_checkpointing_cpu_offload"],
    "swap 4": ["--gradient_checkpointing", "--blocks_to_swap", "4"],
    "swap 7": ["--gradient_checkpointing", "--blocks_to_swap", "7"],
    "swap 4, pinned": ["--gradient_checkpointing", "--blocks_to_swap", "4", "--use_pinned_memory_for_block_swap"],
    "stream 4": ["--gradient_checkpointing", "--blocks_to_swap", "4", "--block_swap_h2d_only"],
    "stream 7, pinned": [
        *("--gradient_checkpointing", "--blocks_to_swap", "7", "--block_swap_h2d_only"),
        "--use_pinned_memory_for_block_swap",
    ],
}


def write(place):
    torch.manual_seed(1)
    config = WAN_CONFIGS["t2v-A14B"]
    sizes = {key: config[key] for key in ("dim", "ffn_dim", "freq_dim", "in_dim", "num_heads", "num_layers")}
    model = WanModel(model_version="2.2", **sizes)
    torch.nn.init.normal_(model.head.head.weight, std=0.1)
    save_file({key: value.half() for key, value in model.state_dict().items()}, "half.safetensors")
    save_file(model.state_dict(), "single.safetensors")
    items = [(f"a_{n}", 128, 128, n) for n in range(4)]
    small.write_caches(place / "cache" / "0", items)
    for stem, _, _, number in items:
        small.write_caption(place / "cache" / "0" / FOLDER / f"{stem}_wan_te.safetensors", stem, 500 + number)
    Path("held-out.txt").write_text("0/a_3\n", encoding="utf-8")


def same_weights():
    """Whether the GPU casts as the CPU does, wherever the weights end; with numbers that fp8 has no place for."""
    odd = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.float16)
    odd = odd[~(odd.isnan() & odd.signbit())]  # of a NaN the GPU drops the sign
    key, tensors = "blocks.0.ffn.0.weight", load_file("half.safetensors")
    tensors[key].view(-1)[: odd.numel()] = odd
    save_file(tensors, "odd.safetensors")
    told = {}
    for loads_to in ("cpu", DEVICE):
        models = {}
        for way, dtype in (("stock", None), ("cast", torch.float8_e4m3fn)):
            before = torch.cuda.memory_allocated() if CUDA else 0
            with loading(dtype, DEVICE) as loaded:
                models[way] = load_wan_model(
                    WAN_CONFIGS["t2v-A14B"], DEVICE, "odd.safetensors", "torch", False, loads_to, torch.float8_e4m3fn
                ).state_dict()
            took = loaded()
            told[f"{way} to {loads_to}"] = {"peak": took.gpu_peak - before, "kept": took.gpu_allocated - before}
        stock, ours = models.values()
        told[str(loads_to)] = all(
            stock[key].device == ours[key].device
            and torch.equal(stock[key].view(torch.uint8), ours[key].view(torch.uint8))
            for key in stock
        )
    return told


def try_way(place, *more):
    """Three batches with both losses, a validation after each; then the gradients that have gathered."""
    own = ["--preservation_weight", "1", "--preservation_folder", FOLDER, "--held_out", "held-out.txt"]
    own += ["--validate_every_steps", "1", "--validation_timesteps", "2"]
    expert = "half.safetensors" if CUDA else "single.safetensors"
    precision = ["--mixed_precision", "fp16", "--fp8_base"] if CUDA else []
    args = small.parse(place, expert, *own, *precision, *more)
    preservation, validation = Preservation(args), Validation(args)

    def prepare(group):
        validation.split(group)
        preservation.attach(group)

    trainer, parts = small.make_ready(args, prepare)
    network = parts.accelerator.unwrap_model(parts.network)
    small.disturb(network)
    parts.current_epoch.value = 1
    told = {"preservation": [], "primary": [], "validation": []}
    generator = torch.Generator().manual_seed(7)
    for batch in parts.train_dataloader:
        latents = batch["latents"].to(DEVICE)
        noise = torch.randn(latents.shape, generator=generator).to(DEVICE)
        t = torch.rand(1, generator=generator).item() * 0.125 + 0.875
        noisy, timesteps = (1 - t) * latents + t * noise, torch.tensor([1000 * t + 1], device=DEVICE)
        given = (latents, noise, noisy, timesteps, parts.network_dtype)
        models = (parts.accelerator, parts.transformer)
        loss = preservation.loss(trainer, args, *models, network, batch, *given)
        parts.accelerator.backward(loss)
        output = trainer.call_dit(args, *models, latents, batch, *given[1:])
        primary = (output.pred - output.target).square().mean()
        parts.accelerator.backward(primary)
        told["preservation"].append(loss.item())
        told["primary"].append(primary.item())
        told["validation"].append(validation.run(trainer, parts, network, lambda: False).loss)
    scale = parts.accelerator.scaler.get_scale() if parts.accelerator.scaler is not None else 1.0
    told["gradients"] = [(parameter.grad.float().norm() / scale).item() for parameter in network.parameters()]
    return told


def main():
    place = Path.cwd()
    WAN_CONFIGS["t2v-A14B"].update(dim=512, ffn_dim=1024, freq_dim=64, num_heads=4, num_layers=10)
    write(place)
    ways = WAYS if CUDA else dict(list(WAYS.items())[:2])
    answer = {"weights": same_weights(), "ways": {name: try_way(place, *more) for name, more in ways.items()}}
    print()
    print(json.dumps(answer))


main()
