"""Run by musubi-tuner's Python: preservation on a small training, told as JSON.

argv: the weights of an expert.
"""

import json
import sys
from pathlib import Path

import small_training as small
import torch

from wan22lora.trainer.preservation import Preservation

FOLDER = "class-0badcafe"
CLASS = 500
"""What is added to an item's number for its class prompt."""


def write_datasets(place):
    """Two datasets with the same stems and two buckets in each."""
    for dataset in range(2):
        sizes = [(64, 64)] * 3 + [(96, 64)] * 2
        items = [(f"a_{n}", *size, 10 * dataset + n) for n, size in enumerate(sizes)]
        cache = place / "cache" / str(dataset)
        small.write_caches(cache, items)
        for stem, _, _, number in items:
            small.write_caption(cache / FOLDER / f"{stem}_wan_te.safetensors", stem, CLASS + number)


def make_ready(place, *more):
    args = small.parse(place, sys.argv[1], "--preservation_weight", "2", "--preservation_folder", FOLDER, *more)
    preservation = Preservation(args)
    trainer, parts = small.make_ready(args, preservation.attach)
    return preservation, trainer, parts


class Batch:
    """One batch on its way through the loop."""

    def __init__(self, trainer, parts):
        self.trainer, self.parts = trainer, parts
        parts.current_epoch.value = 1
        torch.manual_seed(11)
        self.batch = next(iter(parts.train_dataloader))
        self.latents = self.batch["latents"]
        self.noise = torch.randn_like(self.latents)
        self.noisy, self.timesteps = trainer.get_noisy_model_input_and_timesteps(
            parts.args, self.noise, self.latents, None, None, torch.device("cpu"), parts.dit_dtype
        )

    def preserved(self, preservation):
        parts = self.parts
        return preservation.loss(
            self.trainer,
            parts.args,
            parts.accelerator,
            parts.transformer,
            parts.network,
            self.batch,
            self.latents,
            self.noise,
            self.noisy,
            self.timesteps,
            parts.network_dtype,
        )

    def output(self, transformer, **changed):
        return self.trainer.call_dit(
            self.parts.args,
            self.parts.accelerator,
            transformer,
            self.latents,
            {**self.batch, **changed},
            self.noise,
            self.noisy,
            self.timesteps,
            self.parts.network_dtype,
        )

    def primary(self):
        """The loss of the batch itself and its gradients."""
        output = self.output(self.parts.transformer)
        loss = torch.nn.functional.mse_loss(output.pred, output.target)
        loss.backward()
        parameters = list(self.parts.network.parameters())
        gradients = [parameter.grad.clone() for parameter in parameters]
        self.parts.network.zero_grad(set_to_none=True)
        return [loss.detach(), *gradients]


def losses(place):
    answer = {}
    for name, more in {
        "plain": [],
        "checkpointing": ["--gradient_checkpointing"],
        "dropout": ["--gradient_checkpointing", "--network_dropout", "0.5"],
    }.items():
        preservation, trainer, parts = make_ready(place, *more)
        batch = Batch(trainer, parts)
        told = answer[name] = {"untrained": batch.preserved(preservation).item()}

        small.disturb(parts.network)
        torch.manual_seed(21)
        alone = batch.primary()
        torch.manual_seed(21)
        loss = batch.preserved(preservation)
        random_state = torch.get_rng_state()
        loss.backward()
        ups = {key: each.grad for key, each in parts.network.named_parameters() if "lora_up" in key}
        told["every upper half has a gradient"] = all(bool(grad.abs().sum()) for grad in ups.values())
        told["model has none"] = all(each.grad is None for each in parts.transformer.parameters())
        parts.network.zero_grad(set_to_none=True)
        together = batch.primary()
        told["same primary pass"] = all(map(torch.equal, alone, together))
        torch.manual_seed(21)
        told["random state untouched"] = torch.equal(random_state, torch.get_rng_state())
        told["multiplier"] = parts.network.multiplier
        told["loss"] = loss.item()
        if name != "dropout":
            with torch.no_grad():
                base = trainer._load_dit_and_swap(parts.args, parts.accelerator, parts.dit_dtype)
                prior = batch.output(base, t5=batch.batch["t5_class"]).pred
                now = batch.output(parts.transformer, t5=batch.batch["t5_class"]).pred
            told["expected"] = (now - prior).square().mean().item()
    return answer


def after_an_exception(place):
    preservation, trainer, parts = make_ready(place)
    batch = Batch(trainer, parts)
    parts.network.set_multiplier(0.7)
    seen = []

    def fail(*_, **__):
        seen.append(parts.network.unet_loras[0].multiplier)
        torch.rand(1)
        raise KeyError

    trainer.call_dit = fail
    before = torch.get_rng_state()
    try:
        batch.preserved(preservation)
    except KeyError:
        now = {parts.network.multiplier, *(lora.multiplier for lora in parts.network.unet_loras)}
    return {"during": seen, "after": sorted(now), "random": torch.equal(before, torch.get_rng_state())}


def prompts(place, workers):
    """The numbers of captions and class prompts in each batch of two epochs, as the loader's processes give them."""
    _, _, parts = make_ready(place, "--max_data_loader_n_workers", str(workers))
    for dataset in parts.train_dataset_group.datasets:
        assert dataset.batch_size == 2
    seen = []
    for epoch in (1, 2):
        parts.current_epoch.value = epoch
        for batch in parts.train_dataloader:
            pair = [[int(text[0, 0]) for text in batch[key]] for key in ("t5", "t5_class")]
            seen.append([list(batch["latents"].shape), *pair])
    return seen


def refused(place):
    (place / "cache" / "1" / FOLDER / "a_2_wan_te.safetensors").unlink()
    try:
        make_ready(place)
    except FileNotFoundError as error:
        return str(error)
    return None


def due(**settings):
    args = small.parse(Path.cwd(), sys.argv[1], *(str(word) for pair in settings.items() for word in _option(*pair)))
    preservation = Preservation(args)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    chosen = [number for number in range(2000) if preservation.due(number)]
    assert torch.equal(before, torch.get_rng_state())
    return {"chosen": chosen, "factor": preservation.factor}


def _option(name, value):
    return f"--{name}", value


def main():
    place = Path.cwd()
    write_datasets(place)
    answer = {"losses": losses(place), "exception": after_an_exception(place)}
    answer["due"] = [
        due(preservation_weight=2),
        due(preservation_weight=2, preservation_every=4),
        due(preservation_weight=1, preservation_probability=0.25),
        due(preservation_weight=1, preservation_probability=0.25, seed=6),
    ]
    parse = small.parse

    def two_at_once(*given):
        args = parse(*given)
        file = place / "dataset.toml"
        file.write_text(file.read_text().replace("[general]", "[general]\nbatch_size = 2\nnum_repeats = 2"))
        return args

    small.parse = two_at_once
    answer["prompts"] = {workers: prompts(place, workers) for workers in (0, 2)}
    answer["refused"] = refused(place)
    print()
    print(json.dumps(answer))


main()
