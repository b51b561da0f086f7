"""Run by musubi-tuner's Python: how far the fast path is from musubi's own modules, as JSON.

argv: "eager", "fp8" for products in 8 bits, or "compiled" for what a compiler makes of both. Distances are relative, in
Euclidean norm.
"""

import json
import sys
from collections import Counter
from functools import partial
from itertools import product
from pathlib import Path
from statistics import fmean

import torch

sys.path.insert(0, str(Path(__file__).parents[3] / "src"))

import musubi_tuner.wan.modules.model as wan
from musubi_tuner.networks import lora_wan
from torch.profiler import profile

from wan22lora.trainer.fast import block as fast_block
from wan22lora.trainer.fast import fp8, keeping, making, timesteps, weights

MUSUBIS_EMBEDDING = wan.sinusoidal_embedding_1d
SIZES = {"dim": 64, "ffn_dim": 160, "freq_dim": 64, "num_heads": 2, "num_layers": 3, "text_len": 24}
KINDS = {
    "t2v": {"model_type": "t2v", "model_version": "2.2", "in_dim": 16},
    "i2v": {"model_type": "i2v", "model_version": "2.2", "in_dim": 36},
    "wan21": {"model_type": "t2v", "model_version": "2.1", "in_dim": 16},
}
SHAPES = {"picture": (1, 1, 8, 8), "two": (2, 1, 8, 12), "clip": (1, 3, 12, 8)}
"""Batch, and frames, height and width of latents."""


def build(kind="t2v", network_arguments=None, checkpointing=False):
    torch.manual_seed(1)
    model = wan.WanModel(**SIZES, **KINDS[kind], attn_mode="torch")
    torch.nn.init.normal_(model.head.head.weight, std=0.1)
    model.requires_grad_(False)
    network = lora_wan.create_arch_network(1.0, 4, 2, None, None, model, **(network_arguments or {}))
    network.apply_to(None, model, apply_text_encoder=False, apply_unet=True)
    generator = torch.Generator().manual_seed(3)
    for name, parameter in network.named_parameters():
        if "lora_up" in name:
            parameter.data = 0.05 * torch.randn(parameter.shape, generator=generator)
    if checkpointing:
        model.enable_gradient_checkpointing()
        model.train()
    return model, network


def predict(model, kind, shape):
    batch, frames, height, width = SHAPES[shape]
    generator, device = torch.Generator().manual_seed(7), model.patch_embedding.weight.device

    def noise(*sizes):
        return torch.randn(sizes, generator=generator).to(device)

    x, context = noise(batch, 16, frames, height, width), [noise(5 + n, 4096) for n in range(batch)]
    y = list(noise(batch, 20, frames, height, width)) if kind == "i2v" else None
    t = torch.tensor([301.0 + 250 * n for n in range(batch)], device=device)
    x.requires_grad_(model.gradient_checkpointing)  # as musubi's trainer has it
    return torch.stack(model(list(x), t=t, context=context, seq_len=frames * height * width // 4, y=y))


def learn(model, network, kind, shape):
    """The prediction and the gradients of the LoRA. Nothing is drawn at random, or the next epoch would be another."""
    network.zero_grad()
    random = torch.get_rng_state()
    prediction = predict(model, kind, shape)
    (prediction - 1).square().mean().backward()
    assert torch.equal(torch.get_rng_state(), random), "something was drawn at random"
    return prediction.detach(), {name: parameter.grad for name, parameter in network.named_parameters()}


def distance(one, other):
    return ((one.double() - other.double()).norm() / other.double().norm()).item()


def distances(kind, shape, network_arguments=None, checkpointing=False, prepare=None, **how):
    known = build(kind, network_arguments, checkpointing)
    fast = build(kind, network_arguments, checkpointing)
    if prepare is not None:
        prepare["known"](known[0])
        prepare["fast"](fast[0])
    making.make_fast(*fast, checkpointing=checkpointing, **how)
    expected, wanted = learn(*known, kind, shape)
    prediction, gradients = learn(*fast, kind, shape)
    assert gradients.keys() == wanted.keys()
    with torch.no_grad():
        known[1].set_multiplier(0.0)
        fast[1].set_multiplier(0.0)
        without = distance(predict(fast[0], kind, shape), predict(known[0], kind, shape))
    return {
        "prediction": distance(prediction, expected),
        "gradients": max(distance(gradients[name], wanted[name]) for name in gradients),
        "without the LoRA": without,
    }


def attend_exactly():
    """Both compute attention in the type of everything else; musubi takes bfloat16 for float32."""

    def attention(qkv, **_):
        q, k, v = (each.transpose(1, 2) for each in qkv)
        qkv.clear()
        return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).contiguous()

    sizes = fast_block.Sizes
    wan.flash_attention = attention
    making.Sizes = lambda heads, eps: sizes(heads, eps, attention_type=None)


def eager():
    told = {}
    for kind, shape, checkpointing in product(KINDS, SHAPES, (False, True)):
        name = f"{kind} {shape}{' checkpointing' * checkpointing}"
        told[name] = distances(kind, shape, checkpointing=checkpointing, compiled=False, share=0.5)
    only = {"include_patterns": "[r'.*self_attn.[qk].*', r'.*ffn.2.*']", "exclude_patterns": "['.*']"}
    told["few layers"] = distances("t2v", "two", only, compiled=False, checkpointing=True, share=0.5)
    told["swapped"] = distances("t2v", "two", compiled=False, checkpointing=True, in_blocks=False)
    return told


def bfloat16():
    """How far a block's output and gradients are from float32's by either way, as a mean over inputs."""
    exact, by_musubi, fast = build(), build(), build()
    for model, _ in (exact, by_musubi, fast):
        for linear in model.blocks.modules():
            if isinstance(linear, torch.nn.Linear):
                linear.weight.data = linear.weight.data.to(torch.float8_e4m3fn).to(linear.weight.dtype)
    making.make_fast(*fast, compiled=False, checkpointing=False)
    told = {"musubi": [], "fast": []}
    for seed in range(12):
        output, gradients = learn_block(*exact, seed, half=False)
        for name, pair in (("musubi", by_musubi), ("fast", fast)):
            own_output, own_gradients = learn_block(*pair, seed, half=True)
            told[name].append([distance(own_output, output), distance(own_gradients, gradients)])
    return {name: [fmean(each) for each in zip(*found, strict=True)] for name, found in told.items()}


def learn_block(model, network, seed, half):
    """The first block's output and the gradients of its LoRA, by bfloat16 products or all in float32."""
    generator = torch.Generator().manual_seed(seed)
    x, context = torch.randn(2, 48, 64, generator=generator).bfloat16(), torch.randn(2, 24, 64, generator=generator)
    x = (x if half else x.float()).requires_grad_()
    e = torch.randn(2, 1, 6, 64, generator=generator)
    turns, grid = wan.calculate_freqs_i((1, 6, 8), 16, model.freqs), torch.tensor([[1, 6, 8]] * 2)
    network.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        y = model.blocks[0](x, e, torch.tensor([48, 48]), grid, [turns] * 2, context, None)
    y.float().square().mean().backward()
    return y.detach(), torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


def computed_again():
    """For each number of stages how often a backward pass makes a block's products and attention anew."""
    told = []
    operators = {"wan22lora::with_lora": 7, "aten::_scaled_dot_product_flash_attention_for_cpu": 2}
    for stages in range(len(keeping.STAGES) + 1):
        model, network = build(checkpointing=True)
        sizes = keeping.Shape(16, 24, SIZES["dim"], SIZES["ffn_dim"]).stages()
        share = sum(sizes[:stages]) / sum(sizes)
        making.make_fast(model, network, compiled=False, checkpointing=True, share=share)
        loss = predict(model, "t2v", "picture").square().mean()
        with profile() as profiler:
            loss.backward()
        count = Counter({each.key: each.count for each in profiler.key_averages()})
        # Every operator is called once more, and answers from what was kept; the others call themselves.
        told.append([count[name] / SIZES["num_layers"] - calls for name, calls in operators.items()])
    return told


def random_states_read(how):
    """How often the compiled blocks of a step look at the state of the random numbers, for attention made anew."""
    model, network = build(checkpointing=True)
    making.make_fast(model, network, **how)
    learn(model, network, "t2v", "two")
    loss, read, real = predict(model, "t2v", "two").square().mean(), [], torch.get_rng_state
    torch.get_rng_state = lambda: read.append(None) or real()
    loss.backward()
    torch.get_rng_state = real
    return len(read)


SCALES = {"none": None, "tensor": (1,), "row": (None, 1), "group": (None, 2, 1)}
"""Of weights in fp8, by what has one; None stands for the rows."""


def with_fp8_weights(model, scales, whole):
    """Weights in e4m3, scaled at random, as musubi holds them; `whole` makes numbers of them again."""
    generator = torch.Generator().manual_seed(11)
    for linear in model.blocks.modules():
        if isinstance(linear, torch.nn.Linear):
            weight, shape = (4 * linear.weight.data).to(torch.float8_e4m3fn), SCALES[scales]
            scale = torch.ones(1, 1, 1)
            if shape is not None:
                shape = [linear.out_features if size is None else size for size in shape]
                scale = 0.25 + torch.rand(shape, generator=generator)
            if whole:
                scale = scale.reshape(-1, 1, 1) if scale.dim() < 3 else scale
                linear.weight.data = (weight.float().unflatten(1, (scale.shape[1], -1)) * scale).flatten(1)
            else:
                linear.weight.data = weight
                if shape is not None:
                    linear.scale_weight = scale


def in_fp8():
    """How far predictions and gradients are from those of float32 with the same weights."""
    cases = {
        "none": ("t2v", "picture", {}),
        "tensor": ("t2v", "two", {"checkpointing": True}),
        "row": ("i2v", "two", {"checkpointing": True, "transposed": True, "share": 0.5}),
        "group": ("t2v", "clip", {"checkpointing": True, "in_blocks": False}),
    }
    told = {}
    for scales, (kind, shape, how) in cases.items():
        prepare = {"known": partial(with_fp8_weights, scales=scales, whole=True)}
        prepare["fast"] = partial(with_fp8_weights, scales=scales, whole=False)
        told[scales] = distances(kind, shape, prepare=prepare, compiled=False, fp8_results=torch.float32, **how)
    return told


def product_in_fp8():
    """The product and its gradients against those of the numbers that quantising leaves, reckoned in float64."""
    generator = torch.Generator().manual_seed(2)

    def noise(*sizes):
        return torch.randn(sizes, generator=generator)

    x, down, up = (each.requires_grad_() for each in (noise(5, 32), noise(8, 32), noise(2, 24, 4)))
    weight, scale, bias, gradient = noise(48, 32).to(fp8.E4M3), 0.5 + noise(48).square(), noise(48), noise(5, 48)
    gradient[:, :24] *= 1e-3
    x.data[1] *= 1e4
    x.data[2] = 0.0
    told = {}
    for name, transposed in (("for each use", weight.new_empty(0)), ("once", weight.t().contiguous())):
        narrow = x.detach() @ down.detach().t()
        frozen = (weight, scale, transposed, bias, torch.float32)
        y = fp8.fp8_with_lora(x, narrow, down, up, 0.5, *fp8.quantise(x.detach()), *frozen)
        x.grad = down.grad = up.grad = None
        y.backward(gradient)
        found = [y.detach(), x.grad, down.grad, up.grad]
        numbers, rows = fp8.quantise(x.detach())
        exact = [each.detach().double().requires_grad_() for each in (x, down, up)]
        inner = (exact[0] @ exact[1].t()).chunk(2, 1)
        lora = torch.cat([half @ own.t() for half, own in zip(inner, exact[2], strict=True)], 1)
        frozen_weight = weight.double() * scale.double().unsqueeze(1)
        expected = (numbers.double() * rows) @ frozen_weight.t() + bias + 0.5 * lora
        (0.5 * lora).backward(gradient.double())
        numbers, rows = fp8.quantise(gradient * scale)
        of_x = exact[0].grad + (numbers.double() * rows) @ weight.double()
        wanted = [expected.detach(), of_x, exact[1].grad, exact[2].grad]
        told[name] = [distance(one, other) for one, other in zip(found, wanted, strict=True)]
    numbers, rows = fp8.quantise(x.detach())
    told["rows"] = [distance(numbers[row].float() * rows[row], x.detach()[row]) for row in (0, 1, 3, 4)]
    return told


def results_in_fp8():
    """The type that products come in for a block in float16, where torch has products in two types, in one and none."""
    product, told = torch._scaled_mm, []
    for there in ((torch.float16, torch.bfloat16), (torch.bfloat16,), ()):

        def multiply(*given, out_dtype, there=there, **named):
            if out_dtype not in there:
                raise RuntimeError(f"no products in {out_dtype}")
            return product(*given, out_dtype=out_dtype, **named)

        torch._scaled_mm = multiply
        told.append(str(fp8.results_of(torch.float16, torch.device("cpu"))))
    torch._scaled_mm = product
    return told


def refused():
    told = {}
    for name, arguments in (("dropout", {"neuron_dropout": 0.1}), ("rank dropout", {"rank_dropout": "0.1"})):
        model, network = build(network_arguments=arguments)
        before = model.blocks[0].forward
        try:
            making.make_fast(model, network, compiled=False, checkpointing=False)
        except weights.Unsupported as reason:
            told[name] = [str(reason), model.blocks[0].forward == before and not model.force_v2_1_time_embedding]
    return told


def embedded_alike():
    """Whether the embedding of timesteps is musubi's to the bit."""
    given = 1000 * torch.rand(50, generator=torch.Generator().manual_seed(5)) + 1
    return all(
        torch.equal(MUSUBIS_EMBEDDING(size, each), timesteps.embed(size, each))
        for size in (64, 256)
        for each in (given, given[:1], given.half(), given.long())
    )


def main(how):
    torch.set_num_threads(1)
    if how == "eager":
        answer = {"bfloat16": bfloat16(), "computed again": computed_again(), "refused": refused()}
        answer["embedded alike"] = embedded_alike() and wan.sinusoidal_embedding_1d is timesteps.embed
        attend_exactly()
        answer["distances"] = eager()
    elif how == "fp8":
        attend_exactly()
        answer = {"product": product_in_fp8(), "distances": in_fp8(), "results": results_in_fp8()}
    else:
        attend_exactly()
        sizes = keeping.Shape(24, 24, SIZES["dim"], SIZES["ffn_dim"]).stages()
        share = sum(sizes[:2]) / sum(sizes)  # the same for all blocks: one compilation
        same = {"compiled": True, "checkpointing": True, "share": share}
        weights_of = {
            name: partial(with_fp8_weights, scales="row", whole=name == "known") for name in ("known", "fast")
        }
        answer = {"distances": {"compiled": distances("t2v", "two", **same)}}
        answer["random states read"] = random_states_read(same)
        answer["fp8"] = distances("t2v", "two", prepare=weights_of, fp8_results=torch.float32, **same)
    print()
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
