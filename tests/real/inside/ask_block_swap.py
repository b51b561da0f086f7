"""Run by musubi-tuner's Python: where ModelOffloader leaves blocks, for every number of them; told as JSON.

The moves are musubi's own; only that they copy nothing lets them run without CUDA.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import torch

sys.path.insert(0, str(Path(__file__).parents[3] / "src"))

from musubi_tuner.modules.custom_offloading_utils import ModelOffloader

from wan22lora.trainer.block_swap import forward_only


class Misplaced(Exception):
    """A block was computed, or moved, where it was not."""


class Placing(ModelOffloader):
    """Keeps account of the blocks on the GPU instead of moving them."""

    def __init__(self, blocks, swapped):
        self.on_gpu = set(range(len(blocks) - swapped))
        super().__init__("block", blocks, len(blocks), swapped, True, torch.device("cpu"))

    def _submit_move_blocks(self, blocks, to_cpu, to_gpu):
        if to_cpu != to_gpu and (to_cpu not in self.on_gpu or to_gpu in self.on_gpu):
            raise Misplaced
        self.on_gpu = self.on_gpu - {to_cpu} | {to_gpu}
        self.futures[to_gpu] = SimpleNamespace(result=lambda: (to_cpu, to_gpu, None))


class Model:
    """WanModel's way through its blocks (wan/modules/model.py:879-891), and the hooks' way back."""

    def __init__(self, count, swapped):
        self.blocks = [torch.nn.Linear(1, 1) for _ in range(count)]
        self.blocks_to_swap = swapped
        self.offloader = Placing(self.blocks, swapped)
        self.began = set(self.offloader.on_gpu)

    def forward(self):
        for index in range(len(self.blocks)):
            self.offloader.wait_for_block(index)
            self.compute(index)
            self.offloader.submit_move_blocks_forward(self.blocks, index)

    def backward(self):
        for index in reversed(range(len(self.blocks))):
            self.compute(index)
            hook = self.offloader.create_backward_hook(self.blocks, index)
            if hook is not None:
                hook(None, None, None)

    def compute(self, index):
        if index not in self.offloader.on_gpu or index in self.offloader.futures:
            raise Misplaced


def training(model):
    for _ in range(3):
        model.forward()
        model.backward()


def extended_training(model):
    """Two batches with preservation, a validation, and one more batch."""
    for _ in range(2):
        with forward_only(model):
            model.forward()
        for _ in ("preservation", "primary"):
            model.forward()
            model.backward()
    with forward_only(model):
        for _ in range(3):
            model.forward()
    model.forward()
    model.backward()


def unaware_training(model):
    """The same without forward_only."""
    model.offloader.set_forward_only = lambda _: None
    extended_training(model)


def goes(count, swapped, work):
    """Whether every block is found in its place, and left there."""
    model = Model(count, swapped)
    try:
        work(model)
    except Misplaced:
        return False
    return model.offloader.on_gpu == model.began and not model.offloader.futures


pairs = [(count, swapped) for count in (2, 3, 4, 5, 10, 11, 30, 40) for swapped in range(1, count)]
works = (training, extended_training, unaware_training)
print(json.dumps({work.__name__: [pair for pair in pairs if goes(*pair, work)] for work in works}))
