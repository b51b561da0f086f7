"""For scripts run by musubi-tuner's Python: a small training, made ready by musubi's own steps and not begun."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[3] / "src"))

from musubi_tuner.dataset.cache_io import save_latent_cache_wan, save_text_encoder_output_cache_wan
from musubi_tuner.dataset.image_video_dataset import ItemInfo
from musubi_tuner.training.parser_common import setup_parser_common
from musubi_tuner.wan_train_network import WanNetworkTrainer, wan_setup_parser

from wan22lora.trainer.options import add_options
from wan22lora.trainer.parts import Parts

ARGUMENTS = """
--task t2v-A14B --sdpa --mixed_precision no --seed 5 --network_module networks.lora_wan --network_dim 4
--network_alpha 4 --optimizer_type AdamW --learning_rate 2e-3 --timestep_sampling shift --discrete_flow_shift 1.0
--preserve_distribution_shape --min_timestep 875 --max_timestep 1000 --max_train_epochs 2
--max_data_loader_n_workers 0 --step_id train-high --ledger events.jsonl --states states
"""


def write_caches(folder, items, first_frames=False):
    """Caches of pictures; `items` are stem, width and height in pixels, and the number that its caption's text has.

    With `first_frames` each is a clip of five frames with the picture that it starts with, as image-to-video has them.
    """
    folder.mkdir(parents=True)
    for stem, width, height, number in items:
        generator, shape = torch.Generator().manual_seed(number), (1 + first_frames, height // 8, width // 8)
        latent = torch.randn(16, *shape, generator=generator)
        picture = torch.randn(4 + 16, *shape, generator=generator) if first_frames else None
        cache = folder / f"{stem}_{width:04}x{height:04}_wan.safetensors"
        save_latent_cache_wan(_item(stem, cache), latent, None, picture, None)
        write_caption(folder / f"{stem}_wan_te.safetensors", stem, number)


def write_caption(cache, stem, number):
    """A caption's cache: noise of 5 to 9 words whose first value is `number`, so that it can be told from others."""
    text = torch.randn(5 + number % 5, 4096, generator=torch.Generator().manual_seed(1000 + number))
    text[0, 0] = number
    write_text(cache, stem, text)


def write_text(cache, stem, text):
    item = _item(stem, None)
    item.text_encoder_output_cache_path = str(cache)
    cache.parent.mkdir(exist_ok=True)
    save_text_encoder_output_cache_wan(item, text)


def _item(stem, latents):
    return ItemInfo(stem, "a caption", (64, 64), (64, 64), latent_cache_path=str(latents))


def parse(folder, dit, *more):
    """The arguments of a training on folder/cache/0, /1 and so on, each one dataset."""
    (folder / "pictures").mkdir(exist_ok=True)
    lines = ['[general]\nresolution = [64, 64]\nenable_bucket = true\ncaption_extension = ".txt"']
    for cache in sorted((folder / "cache").iterdir()):
        lines.append(f'[[datasets]]\nimage_directory = "{folder / "pictures"}"\ncache_directory = "{cache}"')
    (folder / "dataset.toml").write_text("\n".join(lines), encoding="utf-8")
    parser = wan_setup_parser(setup_parser_common())
    add_options(parser)
    return parser.parse_args(
        [*ARGUMENTS.split(), "--dit", str(dit), "--dataset_config", str(folder / "dataset.toml"), *more]
    )


def make_ready(args, prepare_datasets=lambda group: None):
    """A trainer and the parts of its training, up to where musubi's loop would begin."""
    trainer = WanNetworkTrainer()
    trainer._validate_args_and_init(args)
    session_id, began = trainer._init_session(args)
    group, collator, epoch = trainer._build_dataset(args)
    prepare_datasets(group)
    accelerator, weight_dtype, dit_dtype, dit_weight_dtype, _ = trainer._prepare_accelerator_and_dtypes(args)
    transformer = trainer._load_dit_and_swap(args, accelerator, dit_weight_dtype)
    network = trainer._build_network(args, accelerator, transformer, None, weight_dtype)
    optimizer, name, optimizer_args, train, evaluate, scheduler, descriptions, loader = (
        trainer._build_optimizer_and_dataloader(args, accelerator, network, group, collator, transformer)
    )
    transformer, network, optimizer, loader, scheduler, model, network_dtype = trainer._prepare_with_accelerator(
        args,
        accelerator,
        transformer,
        network,
        optimizer,
        loader,
        scheduler,
        weight_dtype,
        dit_dtype,
        dit_weight_dtype,
    )
    parts = Parts(
        args=args,
        accelerator=accelerator,
        session_id=session_id,
        training_started_at=began,
        train_dataset_group=group,
        train_dataloader=loader,
        current_epoch=epoch,
        transformer=transformer,
        network=network,
        training_model=model,
        optimizer=optimizer,
        optimizer_name=name,
        optimizer_args=optimizer_args,
        optimizer_train_fn=train,
        optimizer_eval_fn=evaluate,
        lr_scheduler=scheduler,
        lr_descriptions=descriptions,
        vae=None,
        sample_parameters=None,
        dit_dtype=dit_dtype,
        network_dtype=network_dtype,
    )
    return trainer, parts


def disturb(network, size=0.02):
    """Gives the LoRA, whose upper half starts at zero, an effect."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_up" in name:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(size * noise.to(parameter.device))
