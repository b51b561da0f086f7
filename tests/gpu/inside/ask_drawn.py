"""Run by musubi-tuner's Python on a CUDA machine: whether compiled blocks draw anything at random, as JSON.

On a GPU, and there alone, torch takes attention that is computed again for something random: each compilation then
draws seeds, and the next epoch comes in another order. Without CUDA this runs, and can find nothing.
"""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "real" / "inside"))

import ask_fast

from wan22lora.trainer.fast import making

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def main():
    model, network = ask_fast.build(checkpointing=True)
    model.to(DEVICE)
    network.to(DEVICE)
    making.make_fast(model, network, compiled=True, checkpointing=True, share=0.0)
    before = torch.get_rng_state()
    with torch.autocast(DEVICE, torch.bfloat16):
        for shape in ("picture", "clip"):
            ask_fast.predict(model, "t2v", shape).float().square().mean().backward()
    print()
    print(json.dumps({"drawn": not torch.equal(torch.get_rng_state(), before)}))


main()
