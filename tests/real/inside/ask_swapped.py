"""Run by musubi-tuner's Python: the fast path while musubi moves blocks between the GPU and RAM, as JSON.

WanModel, its offloader and its hooks are musubi's. Only the copies are made on the CPU, and what waits in RAM is no
number there, so that a product with a weight that is away, or with the one that took its place, shows.
"""

import inspect
import json
import sys
from itertools import product
from pathlib import Path
from types import SimpleNamespace

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


class Copier:
    """Copies at once, where musubi's has a thread and streams of CUDA."""

    def __init__(self, *_, **__):
        pass

    def submit(self, key, into, weights, _):
        moved.append(1)
        into.copy_(weights)

    def wait(self, _):
        return None

    def sync(self):
        pass

    def reset(self):
        pass


def stream_on_the_cpu():
    """musubi's LoRAStreamOffloader without the line that asks for CUDA."""
    source = inspect.getsource(offloading.LoRAStreamOffloader).replace('assert device.type == "cuda"', "assert True")
    exec(source, vars(offloading))
    offloading._StagedCopier = Copier
    torch.cuda.current_stream = lambda: SimpleNamespace(record_event=lambda: None)


def steps(way, checkpointing, swapped, streamed=False):
    """Predictions and gradients of two steps, with passes without gradients before each, as preservation has them."""
    model, network = ask_fast.build(checkpointing=checkpointing)
    if way.startswith("max"):
        ask_fast.with_fp8_weights(model, "group" if way == "max of groups" else "row", whole=False)
    if streamed:
        stream_on_the_cpu()
        on_cpu = {"device": torch.device("cpu"), "supports_backward": True}
        model.enable_block_swap(swapped, offloading.BlockSwapConfig(**on_cpu, h2d_only=True, ring_size=1))
        model.prepare_block_swap_before_forward()
    elif swapped:
        ram = Ram()
        move_on_the_cpu(ram)
        model.enable_block_swap(swapped, offloading.BlockSwapConfig(torch.device("cpu"), supports_backward=True))
    if way != "reference":
        results = torch.float32 if way.startswith("max") else None
        making.make_fast(
            model, network, compiled=False, checkpointing=checkpointing, in_blocks=False, fp8_results=results
        )
    if swapped and not streamed:
        for block in model.blocks[len(model.blocks) - swapped :]:
            for linear in linears_of(block):
                ram.take(linear.weight)
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
    for way, checkpointing in product(("reference", "fast", "max", "max of groups"), (True, False)):
        without = steps(way, checkpointing, 0)
        # Streaming needs checkpointing, and weights that are not scaled anew: both are refused before anything loads.
        streamed = (2, 3) if checkpointing and way != "max of groups" else ()
        for swapped, stream in (*product((1, 2), (False,)), *product(streamed, (True,))):
            moved.clear()
            same = all(map(torch.equal, without, steps(way, checkpointing, swapped, stream)))
            told.append({"case": f"{way}, {checkpointing=}, {swapped=}, {stream=}", "moves": len(moved), "same": same})
    print()
    print(json.dumps(told))


main()
