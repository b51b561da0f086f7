"""Settings in this project's words → options of musubi's programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

Value = bool | int | float | str | Path
ATTENTION_FLAGS = {"sdpa": "sdpa", "xformers": "xformers", "flash": "flash_attn", "flash3": "flash3"}


@dataclass(frozen=True)
class Option:
    """One option of a program: a flag without values, or a name with its values."""

    name: str
    """As musubi spells it, without the dashes."""
    values: tuple[str, ...] = ()
    key: str = ""
    """The setting it comes from, for messages."""

    def argv(self) -> tuple[str, ...]:
        """The words; `--name=-value` where argparse would take the value for another option."""
        if len(self.values) == 1 and self.values[0].startswith("-"):
            return (f"--{self.name}={self.values[0]}",)
        return (f"--{self.name}", *self.values)


TRAIN_OPTIONS: tuple[tuple[str, str], ...] = (
    # setting, musubi's option
    ("mixed_precision", "mixed_precision"),
    ("fp8_base", "fp8_base"),
    ("fp8_scaled", "fp8_scaled"),
    ("gradient_checkpointing", "gradient_checkpointing"),
    ("gradient_checkpointing_cpu_offload", "gradient_checkpointing_cpu_offload"),
    ("blocks_to_swap", "blocks_to_swap"),
    ("optimizer", "optimizer_type"),
    ("optimizer_args", "optimizer_args"),
    ("learning_rate", "learning_rate"),
    ("lr_scheduler", "lr_scheduler"),
    ("lr_scheduler_power", "lr_scheduler_power"),
    ("lr_scheduler_min_lr_ratio", "lr_scheduler_min_lr_ratio"),
    ("lr_scheduler_num_cycles", "lr_scheduler_num_cycles"),
    ("lr_scheduler_args", "lr_scheduler_args"),
    ("lr_warmup_steps", "lr_warmup_steps"),
    ("lr_decay_steps", "lr_decay_steps"),
    ("max_grad_norm", "max_grad_norm"),
    ("gradient_accumulation", "gradient_accumulation_steps"),
    ("data_loader_workers", "max_data_loader_n_workers"),
    ("rank", "network_dim"),
    ("alpha", "network_alpha"),
    ("network_dropout", "network_dropout"),
    ("network_args", "network_args"),
    ("network_weights", "network_weights"),
    ("timestep_sampling", "timestep_sampling"),
    ("timestep_shift", "discrete_flow_shift"),
    ("sigmoid_scale", "sigmoid_scale"),
    ("preserve_distribution_shape", "preserve_distribution_shape"),
    ("epochs", "max_train_epochs"),
    ("steps", "max_train_steps"),
    ("save_every_epochs", "save_every_n_epochs"),
    ("save_every_steps", "save_every_n_steps"),
    ("keep_last_epochs", "save_last_n_epochs"),
    ("keep_last_steps", "save_last_n_steps"),
    ("save_state", "save_state"),
    ("save_precision", "save_precision"),
    ("seed", "seed"),
    ("output_name", "output_name"),
    ("title", "metadata_title"),
    ("author", "metadata_author"),
)
IN_OUR_WORDS: Mapping[str, str] = {
    **{option: setting for setting, option in TRAIN_OPTIONS if setting != option},
    "lr": "learning_rate",
    # of its dataset.toml
    "image_directory": "images",
    "video_directory": "videos",
    "image_jsonl_file": "image_jsonl",
    "video_jsonl_file": "video_jsonl",
    "num_repeats": "repeats",
    "enable_bucket": "bucket",
    "target_frames": "frames",
}
"""musubi's names of what has another name in a run.yaml; its users write them."""
OWNED_OPTIONS = frozenset(
    {option for _, option in TRAIN_OPTIONS}
    | set(ATTENTION_FLAGS.values())
    | {
        "task",
        "dit",
        "vae",
        "t5",
        "dataset_config",
        "network_module",
        "min_timestep",
        "max_timestep",
        "output_dir",
    }
    | {"skip_existing", "keep_cache", "i2v"}
)
"""Options that this program sets; under `musubi:` they would be given twice."""


def train_options(
    settings: Mapping[str, object],
    *,
    task: str,
    weights: Mapping[str, Path],
    dataset_config: Path,
    output_dir: Path,
    known: frozenset[str],
) -> list[Option]:
    """The options of wan_train_network for one expert.

    `settings` holds run.yaml's keys with output_name and title filled in; `weights` has dit, vae and t5; `known` are
    the options of the pinned revision. At a revision without `--save_precision` musubi saves in the weights' own format
    (hv_train_network.py:1875 at d0a1930), so the option is left out there when that is what is wanted.
    """
    options = [Option("task", (task,), "task")]
    options += [Option(name, (str(weights[name]),), f"models.{name}") for name in ("dit", "vae", "t5")]
    options.append(Option("dataset_config", (str(dataset_config),), "data"))
    options.append(Option(ATTENTION_FLAGS[str(settings["attention"])], (), "attention"))
    for key, name in TRAIN_OPTIONS:
        value = settings.get(key)
        if name == "save_precision" and name not in known and value == settings.get("mixed_precision"):
            continue
        options += _option(name, value, key)
    options.append(Option("network_module", ("networks.lora_wan",), "rank"))
    timesteps = settings.get("timestep_range")
    if isinstance(timesteps, Sequence):
        options.append(Option("min_timestep", (str(timesteps[0]),), "timestep_range"))
        options.append(Option("max_timestep", (str(timesteps[1]),), "timestep_range"))
    options.append(Option("output_dir", (str(output_dir),), "folder"))
    return options


_KEEPING = (Option("skip_existing", (), "data"), Option("keep_cache", (), "data"))
"""What is stale is removed before; musubi itself is to write again and remove nothing (cache_latents.py:320-328)."""


def cache_latents_options(*, dataset_config: Path, vae: Path, image_to_video: bool) -> list[Option]:
    """The options of wan_cache_latents. Wan 2.2 image-to-video needs `--i2v` (wan_cache_latents.py:274-285)."""
    options = [
        Option("dataset_config", (str(dataset_config),), "data"),
        Option("vae", (str(vae),), "models.vae"),
    ]
    if image_to_video:
        options.append(Option("i2v", (), "task"))
    return [*options, *_KEEPING]


def cache_text_options(*, dataset_config: Path, t5: Path) -> list[Option]:
    """The options of wan_cache_text_encoder_outputs."""
    return [
        Option("dataset_config", (str(dataset_config),), "data"),
        Option("t5", (str(t5),), "models.t5"),
        *_KEEPING,
    ]


def further_options(values: Mapping[str, object]) -> list[Option]:
    """Options given under `musubi:`, by their names there."""
    return [option for name, value in values.items() for option in _option(name, value, name)]


def argv_of(options: Iterable[Option]) -> tuple[str, ...]:
    return tuple(token for option in options for token in option.argv())


def _option(name: str, value: object, key: str) -> Iterator[Option]:
    if value is None or value is False:
        return
    if value is True:
        yield Option(name, (), key)
    elif isinstance(value, Mapping):
        spell = text if name == "network_args" else _argument
        yield Option(name, tuple(f"{part}={spell(inner)}" for part, inner in value.items()), key)
    elif isinstance(value, list | tuple):
        yield Option(name, tuple(text(part) for part in value), key)
    else:
        yield Option(name, (text(value),), key)


def _argument(value: object) -> str:
    """Arguments of optimizer and scheduler go through ast.literal_eval (trainer_base.py:173, 305), so words need
    quotes; those of the network stay text (trainer_base.py:1564)."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_argument(part) for part in value)}]"
    return repr(value) if isinstance(value, str) else text(value)


def text(value: object) -> str:
    """Numbers as people write them in such commands: 3e-4, 0.1, 1.0, 16; both read back as the same number."""
    if isinstance(value, float) and value != 0 and abs(value) < 1e-3:
        sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
        assert isinstance(exponent, int)
        whole, fraction = str(digits[0]), "".join(map(str, digits[1:]))
        point = f".{fraction}" if fraction else ""
        return f"{'-' if sign else ''}{whole}{point}e{exponent + len(fraction)}"
    return str(value)
