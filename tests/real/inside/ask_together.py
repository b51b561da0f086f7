"""One of two processes that exchange what a training's processes exchange; prints what came out, as JSON."""

import json
import math
import sys
from pathlib import Path

import torch
from accelerate import Accelerator

sys.path.insert(0, str(Path(__file__).parents[3] / "src"))

from wan22lora.trainer.together import Together

together = Together(Accelerator(cpu=True))
first = together.first
one, other = (torch.nn.Parameter(torch.zeros(size)) for size in (2, 1))
one.grad = torch.tensor([1.0, 2.0] if first else [3.0, 4.0])
other.grad = None if first else torch.tensor([1.0])
together.average([one, other])
loss = [1.0, math.nan] if first else [3.0, 1.0]
agreed = together.agree(loss, [0.0 if first else 1.0], 2 if first else 3, stop=0 if first else 15, save=first)
shared = torch.nn.Parameter(torch.tensor([7.0 if first else 8.0]))
together.share([shared])
print(
    json.dumps(
        {
            "gradients": [one.grad.tolist(), other.grad.tolist()],
            "losses": [each if math.isfinite(each) else "nan" for each in agreed.losses],
            "preservation": agreed.preservation,
            "samples": agreed.samples,
            "stop": agreed.stop,
            "save": agreed.save,
            "gathered": together.gather(f"of {together.index}"),
            "shared": shared.tolist(),
        }
    )
)
