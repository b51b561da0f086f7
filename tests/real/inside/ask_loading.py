"""Run by musubi-tuner's Python: loads experts by stock musubi and by the extension, and prints both as JSON.

argv: "compare", or the way ("stock" or "cast") that loads one file of 270 MB, whose memory is told.
"""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[3] / "src"))

from musubi_tuner.utils import lora_utils
from musubi_tuner.wan.configs import WAN_CONFIGS
from musubi_tuner.wan.modules.model import WanModel, load_wan_model
from safetensors.torch import save_file

from wan22lora.trainer.loading import loading

CPU = torch.device("cpu")
FP8, FP16, BF16 = torch.float8_e4m3fn, torch.float16, torch.bfloat16


def new_weights(dtype):
    config = WAN_CONFIGS["t2v-A14B"]
    sizes = {key: config[key] for key in ("dim", "ffn_dim", "freq_dim", "in_dim", "num_heads", "num_layers")}
    torch.manual_seed(1)
    return {
        key: torch.randn(value.shape).to(dtype)
        for key, value in WanModel(model_version="2.2", **sizes).state_dict().items()
    }


def load(file, dtype, cast, loads_to="cpu", trains_on="cpu"):
    """load_wan_model as WanNetworkTrainer.load_transformer calls it; also what loading took."""
    arguments = (WAN_CONFIGS["t2v-A14B"], torch.device(trains_on), file, "torch", False, loads_to, dtype)
    with loading(dtype if cast else None, CPU) as loaded:
        model = load_wan_model(*arguments)
    return model, loaded()


def same(one, other):
    """Bit for bit, not-a-numbers too."""
    one, other = one.state_dict(), other.state_dict()
    return list(one) == list(other) and all(
        one[key].dtype == other[key].dtype and torch.equal(one[key].view(torch.uint8), other[key].view(torch.uint8))
        for key in one
    )


def write_files():
    """The same random weights in several forms; with numbers that fp8 has no place for."""
    half = new_weights(FP16)
    for value in half.values():
        flat = value.view(-1)
        flat[:8] = torch.tensor([1e5, -1e5, float("nan"), 449.0, 465.0, 1e-3, -1e-7, 0.0])
    save_file(half, "half.safetensors")
    save_file({f"model.diffusion_model.{key}": value for key, value in half.items()}, "prefixed.safetensors")
    keys = list(half)
    save_file({key: half[key] for key in keys[:40]}, "split-00001-of-00002.safetensors")
    save_file({key: half[key] for key in keys[40:]}, "split-00002-of-00002.safetensors")
    mixed = {key: value.float() if "norm" in key else value for key, value in half.items()}
    save_file(mixed, "mixed.safetensors")
    save_file({key: value.to(FP8) for key, value in half.items()}, "eight.safetensors")


def compare():
    write_files()
    cases = {
        "half to fp8": ("half.safetensors", FP8, "cpu"),
        "half to fp8, blocks swapped": ("half.safetensors", FP8, "cuda"),
        "prefixed to fp8": ("prefixed.safetensors", FP8, "cpu"),
        "split to fp8": ("split-00001-of-00002.safetensors", FP8, "cpu"),
        "mixed to bf16": ("mixed.safetensors", BF16, "cpu"),
        "fp8 to bf16": ("eight.safetensors", BF16, "cpu"),
        "half as it is": ("half.safetensors", FP16, "cpu"),
    }
    answer = {}
    for name, (file, dtype, trains_on) in cases.items():
        stock, _ = load(file, dtype, cast=False, trains_on=trains_on)
        ours, _ = load(file, dtype, cast=True, trains_on=trains_on)
        answer[name] = {"same": same(stock, ours), "dtypes": sorted({str(each.dtype) for each in ours.parameters()})}
    reader = lora_utils.MemoryEfficientSafeOpen
    try:
        load("absent.safetensors", FP8, cast=True)
    except FileNotFoundError:
        answer["put back"] = reader is lora_utils.MemoryEfficientSafeOpen
    return answer


def measure(way):
    WAN_CONFIGS["t2v-A14B"].update(dim=1024, ffn_dim=4096, num_layers=8, num_heads=8)
    file = Path("large.safetensors")
    if not file.exists():
        save_file(new_weights(FP16), "writing")
        Path("writing").rename(file)
        return measure(way)
    with loading(None, CPU) as nothing:
        pass
    model, loaded = load(str(file), FP8, cast=way == "cast")
    weights = sum(parameter.numel() for parameter in model.parameters())
    return {"before": nothing().ram_peak, "peak": loaded.ram_peak, "weights": weights, "seconds": loaded.seconds}


print(json.dumps(compare() if sys.argv[1] == "compare" else measure(sys.argv[1])))
