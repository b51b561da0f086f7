"""Run by musubi-tuner's Python: validation in a small training, told as JSON.

argv: the weights of an expert.
"""

import json
import random
import shutil
import sys
from pathlib import Path

import numpy
import small_training as small
import torch

from wan22lora.trainer.failing import TrainingFailed
from wan22lora.trainer.validation import Validation

HELD_OUT = ["0/a_1", "1/a_1", "1/a_4"]


def write_datasets(place):
    """Two datasets with the same stems; `a_4` alone has its shape."""
    for dataset in range(2):
        items = [(f"a_{n}", 64, 64, 10 * dataset + n) for n in range(4)]
        items.append(("a_4", 96, 64, 10 * dataset + 4))
        small.write_caches(place / "cache" / str(dataset), items)


def make_ready(place, *more, held_out=HELD_OUT):
    (place / "held-out.txt").write_text("".join(f"{name}\n" for name in held_out), encoding="utf-8")
    own = ["--held_out", "held-out.txt", "--validate_every_steps", "4", "--validation_timesteps", "5"]
    validations = []

    def split(group):
        validations.append(Validation(args))
        validations[0].split(group)

    args = small.parse(place, sys.argv[1], *own, *more)
    file = place / "dataset.toml"
    file.write_text(file.read_text().replace("[general]", "[general]\nbatch_size = 2\nnum_repeats = 2"))
    trainer, parts = small.make_ready(args, split)
    return validations[0], trainer, parts


def modes(parts):
    return [module.training for model in (parts.network, parts.transformer) for module in model.modules()]


def gradients(parts):
    return [None if each.grad is None else each.grad.clone() for each in parts.network.parameters()]


def random_numbers():
    return [random.random(), float(numpy.random.rand()), torch.rand(3).tolist()]


def numbers(batch):
    return [int(text[0, 0]) for text in batch["t5"]]


def splitting(place):
    _, _, parts = make_ready(place)
    group = parts.train_dataset_group
    parts.current_epoch.value = 1
    seen = sorted(number for batch in parts.train_dataloader for number in numbers(batch))
    return {
        "trained": seen,
        "items": [group.num_train_items, *(dataset.num_train_items for dataset in group.datasets)],
        "batches": [len(group), *(len(dataset) for dataset in group.datasets)],
        "loader": len(parts.train_dataloader),
        "max_train_steps": parts.args.max_train_steps,
    }


def running(place):
    run, trainer, parts = make_ready(place, "--gradient_checkpointing", "--network_dropout", "0.5")
    small.disturb(parts.network, size=0.2)
    parts.network.unet_loras[0].eval()  # a mode of its own must survive
    parts.current_epoch.value = 1
    batch = next(iter(parts.train_dataloader))
    output = trainer.call_dit(
        parts.args,
        parts.accelerator,
        parts.transformer,
        batch["latents"],
        batch,
        batch["latents"],
        batch["latents"],
        torch.tensor([900.0] * len(batch["t5"])),
        parts.network_dtype,
    )
    output.pred.square().mean().backward()

    def validate(stop_requested=lambda: False):
        result = run.run(trainer, parts, parts.network, stop_requested)
        return None if result is None else {"loss": result.loss, "bins": result.bins}

    calls, call_dit = [], trainer.call_dit

    def listen(*given):
        calls.append([numbers(given[4]), round(float(given[7][0]), 3), given[7].dtype == torch.float32])
        return call_dit(*given)

    before = modes(parts), gradients(parts)
    for seed in (random.seed, numpy.random.seed, torch.manual_seed):
        seed(1)
    expected = random_numbers()
    for seed in (random.seed, numpy.random.seed, torch.manual_seed):
        seed(1)
    trainer.call_dit = listen
    first = validate()
    trainer.call_dit = call_dit
    told = {"first": first, "calls": calls, "random": random_numbers() == expected}
    told["second"] = validate()
    told["modes"] = before[0] == modes(parts)
    told["gradients"] = all(
        one is other is None or torch.equal(one, other) for one, other in zip(before[1], gradients(parts), strict=True)
    )
    told["expected"] = by_hand(run, trainer, parts)
    small.disturb(parts.network, size=0.3)
    told["other weights"] = validate()
    answers = iter([False] * 7 + [True])
    told["stopped"] = validate(lambda: next(answers))
    told["left after stopping"] = len(list(answers))
    told["modes after stopping"] = before[0] == modes(parts)
    told["due"] = [step for step in range(1, 13) if run.due(step)]
    return told


def by_hand(run, trainer, parts):
    """The loss in the first part of the timesteps, from the cache files."""
    losses = []
    parts.network.eval()
    for held_out in run._held_out:
        batch = held_out.batch()
        noise = held_out.noise(parts.args.seed, 0, batch["latents"].shape)
        noisy = 0.1125 * batch["latents"] + 0.8875 * noise
        with torch.no_grad():
            prediction = parts.transformer(
                noisy, t=torch.tensor([888.5]), context=batch["t5"], seq_len=noisy.shape[3] * noisy.shape[4] // 4
            )
        losses.append((prediction[0] - (noise - batch["latents"])[0]).square().mean().item())
    parts.network.train()
    parts.network.unet_loras[0].eval()
    return sum(losses) / len(losses)


def noises(place):
    """Noise of items and parts, all different and always the same."""
    run, _, _ = make_ready(place)
    shape = torch.Size((1, 16, 1, 8, 8))
    drawn = [held.noise(5, part, shape)[0, 0, 0, 0, :2].tolist() for held in run._held_out for part in range(5)]
    again = [held.noise(5, part, shape)[0, 0, 0, 0, :2].tolist() for held in run._held_out for part in range(5)]
    return {"different": len({tuple(each) for each in drawn}), "same": drawn == again}


def clips(place):
    """Two windows of one clip are taken out together."""
    folder = place / "clips"
    small.write_caches(folder / "cache" / "0", [("b", 64, 64, 1), ("c", 64, 64, 2)])
    cache = folder / "cache" / "0"
    for stem in ("b", "c"):
        picture = cache / f"{stem}_0064x0064_wan.safetensors"
        for window in ("00000-005", "00005-005"):
            shutil.copy(picture, cache / f"{stem}_{window}_0064x0064_wan.safetensors")
        picture.unlink()
    args = small.parse(folder, sys.argv[1], "--held_out", "held.txt", "--validate_every_steps", "1")
    Path("held.txt").write_text("0/c\n", encoding="utf-8")
    file = folder / "dataset.toml"
    words = file.read_text().replace(
        "image_directory", 'target_frames = [5]\nframe_extraction = "chunk"\nvideo_directory'
    )
    file.write_text(words)
    run = Validation(args)
    _, parts = small.make_ready(args, run.split)
    return {
        "held out": [held.name for held in run._held_out],
        "trained": [Path(item.latent_cache_path).name for item in _items(parts.train_dataset_group)],
    }


def _items(group):
    for dataset in group.datasets:
        for bucket in dataset.batch_manager.buckets.values():
            yield from bucket


def refusals(place):
    said = []
    everything = [f"{dataset}/a_{n}" for dataset in range(2) for n in range(5)]
    for held_out in (["0/absent"], everything):
        try:
            make_ready(place, held_out=held_out)
        except TrainingFailed as failure:
            said.append(failure.text)
    return said


def main():
    place = Path.cwd()
    write_datasets(place)
    answer = {
        "split": splitting(place),
        "run": running(place),
        "noises": noises(place),
        "clips": clips(place),
        "refusals": refusals(place),
    }
    print()
    print(json.dumps(answer))


main()
