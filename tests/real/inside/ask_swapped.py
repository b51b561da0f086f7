"""Run by musubi-tuner's Python: the fast path while musubi moves blocks between the GPU and RAM, as JSON.

WanModel, its offloader and its hooks are musubi's. Only the copies are made on the CPU, and what waits in RAM is no
number there, so that a product with a weight that is away, or with the one that took its place, shows.
"""

import json
import sys
from itertools import product
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[3] / "src"))

import ask_fast
from musubi_tuner.modules import custom_offloading_utils as offloading

from wan22lora.trainer.block_swap import forward_only
from wan22lora.trainer.fast import making

moved = []
"""One entry for each move of a block."""


class Ram:
    """Holds the weights that are away; each has a tensor of its own, which reads as no number."""

    def __init__(self):
        self._away = {}

    def take(self, weight):
        self._away[id(weight)] = weight.data.clone()
        weight.data = _nothing(weight)

    def swap(self, leaves, arrives):
        """As swap_weight_devices_cuda: the one that arrives takes the memory of the one that leaves."""
        memory = leaves.data
        self.take(leaves)
        memory.view(torch.uint8).copy_(self._away.pop(id(arrives)).view(torch.uint8))
        arrives.data = memory


def _nothing(weight):
    return torch.full(weight.shape, float("nan")).to(weight.dtype)


def linears_of(block):
    return [module for module in block.modules() if type(module).__name__.endswith("Linear")]


def move_on_the_cpu(ram):
    def swap(_, to_cpu, to_gpu):
        moved.append(1)
        for leaves, arrives in zip(linears_of(to_cpu), linears_of(to_gpu), strict=True):
            ram.swap(leaves.weight, arrives.weight)

    offloading.swap_weight_devices_no_cuda = swap
    torch.cuda.current_device, torch.cuda.set_device = (lambda: 0), (lambda _: None)


def steps(way, checkpointing, swapped):
    """Predictions and gradients of two steps, with passes without gradients before each, as preservation has them."""
    model, network = ask_fast.build(checkpointing=checkpointing)
    if way == "max":
        ask_fast.with_fp8_weights(model, "row", whole=False)
    if swapped:
        ram = Ram()
        move_on_the_cpu(ram)
        model.enable_block_swap(swapped, offloading.BlockSwapConfig(torch.device("cpu"), supports_backward=True))
        for block in model.blocks[len(model.blocks) - swapped :]:
            for linear in linears_of(block):
                ram.take(linear.weight)
    if way != "reference":
        results = torch.float32 if way == "max" else None
        making.make_fast(
            model, network, compiled=False, checkpointing=checkpointing, in_blocks=False, fp8_results=results
        )
    told = []
    for shape in ("two", "clip"):
        with torch.no_grad(), forward_only(model):
            told += [ask_fast.predict(model, "t2v", shape) for _ in range(2)]
        prediction, gradients = ask_fast.learn(model, network, "t2v", shape)
        told += [prediction, *(gradients[name].clone() for name in sorted(gradients))]
    return told


def main():
    torch.set_num_threads(1)
    ask_fast.attend_exactly()
    ask_fast.SIZES["num_layers"] = 4
    told = []
    for way, checkpointing in product(("reference", "fast", "max"), (True, False)):
        without = steps(way, checkpointing, 0)
        for swapped in (1, 2):
            moved.clear()
            same = all(map(torch.equal, without, steps(way, checkpointing, swapped)))
            told.append({"case": f"{way}, {checkpointing=}, {swapped=}", "moves": len(moved), "same": same})
    print()
    print(json.dumps(told))


main()
