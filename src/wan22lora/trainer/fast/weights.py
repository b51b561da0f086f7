"""Finds the tensors of a block and its LoRA in musubi's modules, and says where this path cannot go."""

from __future__ import annotations

from typing import Any

import torch
from musubi_tuner.networks.lora import LoRAModule
from musubi_tuner.wan.modules.model import WanCrossAttention

from .block import Attention, Weights
from .fp8 import E4M3, quantise
from .products import Fp8, Product

ATTENTION_MODES = ("torch", "sdpa", "xformers", "flash", "flash2")
"""Modes that compute the same attention; scaled_dot_product_attention has them all, and chooses for itself."""


class Unsupported(Exception):
    """A model or a LoRA that only musubi's own modules compute; the text says what of it."""


class NoFp8(Exception):
    """Weights or a device with which there are no products in 8 bits; the text says what of it."""


class Layers:
    """The blocks' linear layers with the LoRA modules that stand before them."""

    def __init__(self, network: Any) -> None:
        """Raises Unsupported for a network that is not musubi's plain LoRA."""
        self.loras: list[Any] = list(getattr(network, "unet_loras", []))
        self._of: dict[int, Any] = {}
        self._packed: dict[tuple[int, ...], torch.Tensor] = {}
        self._scales: dict[int, torch.Tensor] = {}
        self._transposed: dict[tuple[int, ...], torch.Tensor] = {}
        self._fp8s: dict[tuple[int, ...], Fp8] = {}
        self._results: torch.dtype | None = None
        for lora in self.loras:
            if type(lora) is not LoRAModule or lora.split_dims is not None:
                raise Unsupported(f"a network of {type(lora).__name__}")
            if lora.dropout or lora.rank_dropout or lora.module_dropout:
                raise Unsupported("dropout in the LoRA")
            if lora.lora_up.weight.dim() != 2:
                raise Unsupported("a LoRA of convolutions")
            self._of[id(lora.org_forward.__self__)] = lora

    @property
    def multiplier(self) -> float:
        return float(self.loras[0].multiplier) if self.loras else 0.0

    def cast(self, model: Any, dtype: torch.dtype) -> None:
        """Casts the weights that products cast otherwise at each use."""
        for block in model.blocks:
            for linear in block.modules():
                if isinstance(linear, torch.nn.Linear) and not hasattr(linear, "scale_weight"):
                    linear.weight.data = linear.weight.data.to(dtype)

    def multiply_in_fp8(self, model: Any, results: torch.dtype) -> None:
        """Belongs before `pack`. `results` is the type that products come in. Raises NoFp8 with the model as it was."""
        linears = [
            linear for block in model.blocks for linear in block.modules() if isinstance(linear, torch.nn.Linear)
        ]
        for linear in linears:
            if linear.weight.dtype != E4M3:
                raise NoFp8(f"weights in {str(linear.weight.dtype).removeprefix('torch.')}")
        device = model.patch_embedding.weight.device
        ones: dict[int, torch.Tensor] = {}
        for linear in linears:
            rows, scale = linear.out_features, getattr(linear, "scale_weight", None)
            if scale is None:
                self._scales[id(linear)] = ones.setdefault(rows, torch.ones(rows, device=device))
            else:
                if scale.dim() == 3:
                    scale = _scale_rows(linear, device)
                self._scales[id(linear)] = scale.float().to(device).flatten().expand(rows).contiguous()
        self._results = results

    def transpose(self, model: Any) -> None:
        """Keeps each weight lying column by column as well, as the backward pass needs it. Belongs after `pack`."""
        for block in model.blocks:
            for linears in _products_of(block):
                for each in [linears] if tuple(map(id, linears)) in self._packed else [[one] for one in linears]:
                    key = tuple(map(id, each))
                    self._transposed[key] = self._packed.get(key, each[0].weight.data).t().contiguous()

    def pack(self, model: Any) -> None:
        """Lays weights that multiply the same input one below the other, so that one product makes q, k and v."""
        for block in model.blocks:
            for linears in (_inputs(block.self_attn, "qkv"), _inputs(block.cross_attn, "kv")):
                if self._alike(linears):
                    packed = torch.cat([linear.weight.data.view(torch.uint8) for linear in linears])
                    for linear, rows in zip(linears, packed.chunk(len(linears)), strict=True):
                        linear.weight.data = rows.view(linear.weight.dtype)
                    # A parameter, as compilers know that to be kept anyway: of a plain tensor they keep the transposed
                    # copy for the backward pass, which is as large.
                    whole = torch.nn.Parameter(packed.view(linears[0].weight.dtype), requires_grad=False)
                    self._packed[tuple(map(id, linears))] = whole

    def weights(self, block: Any, multiplier: float) -> Weights:
        """Everything that `block` computes with, while the LoRA has this multiplier."""
        own, cross, norm3 = block.self_attn, block.cross_attn, block.norm3
        return Weights(
            modulation=block.modulation,
            self_attention=self._attention(own, ("qkv",), multiplier),
            cross_attention=self._attention(cross, ("q", "kv"), multiplier),
            norm3=(norm3.weight, norm3.bias) if isinstance(norm3, torch.nn.LayerNorm) else None,
            ffn_in=self._product([block.ffn[0]], multiplier),
            ffn_out=self._product([block.ffn[2]], multiplier),
        )

    def _attention(self, attention: Any, groups: tuple[str, ...], multiplier: float) -> Attention:
        products: list[Product] = []
        for group in groups:
            linears = _inputs(attention, group)
            together = [linears] if tuple(map(id, linears)) in self._packed else [[each] for each in linears]
            products += (self._product(each, multiplier) for each in together)
        norm_q, norm_k = (getattr(norm, "weight", None) for norm in (attention.norm_q, attention.norm_k))
        return Attention(tuple(products), self._product([attention.o], multiplier), norm_q, norm_k)

    def _product(self, linears: list[Any], multiplier: float) -> Product:
        first = linears[0]
        weight = self._packed.get(tuple(map(id, linears)), first.weight)
        fp8 = self._fp8(linears) if self._results is not None else None
        biases, scale = tuple(linear.bias for linear in linears), getattr(first, "scale_weight", None)
        loras = [self._of[id(linear)] for linear in linears if id(linear) in self._of]
        strength = float(loras[0].scale) * multiplier if loras else 0.0
        if not strength:
            return Product(weight, biases, scale, fp8)
        downs, ups = (tuple(getattr(lora, name).weight for lora in loras) for name in ("lora_down", "lora_up"))
        return Product(weight, biases, scale, fp8, downs, ups, strength)

    def _fp8(self, linears: list[Any]) -> Fp8:
        assert self._results is not None
        key = tuple(map(id, linears))
        if key not in self._fp8s:
            scales = [self._scales[each] for each in key]
            transposed = self._transposed.get(key, scales[0].new_empty(0, dtype=E4M3))
            self._fp8s[key] = Fp8(torch.cat(scales), transposed, self._results)
        return self._fp8s[key]

    def _alike(self, linears: list[Any]) -> bool:
        """Whether one product can make what these make: of one shape, with LoRAs of one rank and scale or without."""
        loras = [self._of.get(id(linear)) for linear in linears]
        kinds = {None if lora is None else (lora.lora_dim, float(lora.scale)) for lora in loras}
        shapes = {(linear.weight.shape, linear.weight.dtype) for linear in linears}
        scaled = self._results is None and any(hasattr(linear, "scale_weight") for linear in linears)
        return len(kinds) == len(shapes) == 1 and not scaled


def _products_of(block: Any) -> list[list[Any]]:
    """The linear layers of a block, those together that multiply the same."""
    own, cross = block.self_attn, block.cross_attn
    return [_inputs(own, "qkv"), [own.o], [cross.q], _inputs(cross, "kv"), [cross.o], [block.ffn[0]], [block.ffn[2]]]


def _scale_rows(linear: Any, device: torch.device) -> torch.Tensor:
    """Gives the weight one scale for each row instead of one for each group of columns; the scale, [out, 1]."""
    scale = linear.scale_weight.to(device)
    groups = linear.weight.data.to(device).float().unflatten(1, (scale.shape[1], -1))
    weight, linear.scale_weight = quantise((groups * scale).flatten(1))
    linear.weight.data = weight.to(linear.weight.device)
    return linear.scale_weight


def _inputs(attention: Any, names: str) -> list[Any]:
    return [getattr(attention, name) for name in names]


def names_of(weights: Weights) -> tuple[str, ...]:
    """The names that keeping.py has for the products, in the order in which block.compute makes them."""
    own, cross = len(weights.self_attention.inputs), len(weights.cross_attention.inputs) - 1
    return (*("q k v",) * own, "o", "cross q", *("cross k v",) * cross, "cross o", "ffn in", "ffn out")


def require_supported(model: Any) -> None:
    """Raises Unsupported for a WanModel whose blocks compute something else."""
    for block in model.blocks:
        if type(block.cross_attn) is not WanCrossAttention:
            raise Unsupported("attention to pictures (image-to-video of Wan 2.1)")
        if block.self_attn.attn_mode not in ATTENTION_MODES:
            raise Unsupported(f"attention by {block.self_attn.attn_mode}")
        if any(linear.bias is None for linear in block.modules() if isinstance(linear, torch.nn.Linear)):
            raise Unsupported("products without a bias")
