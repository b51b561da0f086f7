"""Run by musubi-tuner's Python: what trainings with and without preservation keep, as JSON.

argv: the weights of an expert, then the LoRAs; without any, the caches are written.
"""

import json
import sys
from pathlib import Path
from statistics import fmean

import small_training as small
import torch
from musubi_tuner.networks.lora_wan import create_arch_network_from_weights
from safetensors.torch import load_file

from wan22lora.trainer.preservation import Preservation

CLASS = Path("cache/0/class-0badcafe")
PARTS = 8


def write():
    """Pictures of noise; captions that fill the text, and share much with each other and nothing with the class's.

    What a short caption does to a Wan with random weights drowns in its 512 places.
    """
    items = [(f"a_{n}", 64, 64, n) for n in range(4)] + [(f"b_{n}", 96, 64, 4 + n) for n in range(2)]
    small.write_caches(Path("cache/0"), items)
    triggered, of_class = torch.randn(2, 4096, generator=torch.Generator().manual_seed(77))
    for stem, _, _, number in items:
        own = 0.3 * torch.randn(512, 4096, generator=torch.Generator().manual_seed(100 + number))
        name = f"{stem}_wan_te.safetensors"
        small.write_text(CLASS.parent / name, stem, triggered + own)
        small.write_text(CLASS / name, stem, of_class + own)


def measure(expert, loras):
    """For each LoRA: the loss on the captions, and how far it moves the predictions for the class prompts."""
    args = small.parse(Path.cwd(), expert, "--preservation_folder", CLASS.name)
    trainer, parts = small.make_ready(args, Preservation(args).attach)
    answer = {"base": losses(trainer, parts, None)}
    base = predictions(trainer, parts, None, "t5_class")
    for lora in loras:
        now = predictions(trainer, parts, lora, "t5_class")
        moved = fmean((one - other).square().mean().item() for (one, _), (other, _) in zip(base, now, strict=True))
        answer[Path(lora).stem] = {"loss": losses(trainer, parts, lora), "moved": moved}
    return answer


def losses(trainer, parts, lora):
    told = predictions(trainer, parts, lora, "t5")
    return fmean((prediction - target).square().mean().item() for prediction, target in told)


def predictions(trainer, parts, lora, text):
    """The predictions and targets for all items at eight timesteps, with noise that is always the same."""
    model = trainer._load_dit_and_swap(parts.args, parts.accelerator, parts.dit_dtype)
    if lora is not None:
        weights = load_file(lora)
        network = create_arch_network_from_weights(1.0, weights, unet=model, for_inference=True)
        network = network[0] if isinstance(network, tuple) else network
        network.apply_to(None, model, apply_text_encoder=False, apply_unet=True)
        network.load_state_dict(weights)
    batches = parts.train_dataset_group.datasets[0].batch_manager
    generator, told = torch.Generator().manual_seed(9), []
    for index in range(len(batches)):
        batch = batches[index]
        for part in range(PARTS):
            t = 0.875 + 0.125 * (part + 0.5) / PARTS
            noise = torch.randn(batch["latents"].shape, generator=generator)
            noisy = (1 - t) * batch["latents"] + t * noise
            with torch.no_grad():
                output = trainer.call_dit(
                    parts.args,
                    parts.accelerator,
                    model,
                    batch["latents"],
                    {**batch, "t5": batch[text]},
                    noise,
                    noisy,
                    torch.tensor([1000 * t + 1]),
                    torch.float32,
                )
            told.append((output.pred, output.target))
    return told


def main(expert, *loras):
    if not loras:
        write()
        small.parse(Path.cwd(), expert)
    print()
    print(json.dumps(measure(expert, loras) if loras else {}))


main(*sys.argv[1:])
