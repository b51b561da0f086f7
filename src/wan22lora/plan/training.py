"""What a training's result depends on, and whether the files on disk are that result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from wan22lora.musubi.options import TRAIN_OPTIONS, Option
from wan22lora.musubi.safetensors import NotSafetensors, read_header

WITHOUT_EFFECT = frozenset(
    {
        "dataset_config",
        "output_dir",
        "dit",
        "vae",
        "t5",
        "gradient_checkpointing",
        "gradient_checkpointing_cpu_offload",
    }
    | {"blocks_to_swap", "max_data_loader_n_workers", "persistent_data_loader_workers", "metadata_title"}
    | {"ledger", "step_id", "states", "states_every_minutes", "states_every_steps", "states_keep_last"}
    | {"max_nan_steps", "disk_patience", "validate_every_steps", "validation_timesteps"}
    | {"preservation_folder", "held_out", "speed", "activation_budget", "weights_cast_once"}
    | {"log_config", "log_prefix", "log_tracker_config", "log_tracker_name", "log_with", "logging_dir"}
    | {"wandb_run_name"}
)
"""Options that change where or how fast, never what is learned. The weights are compared by name and size instead, the
preserved class and the held-out items by name."""
OF_FILES_ALONE = frozenset(
    f"--{name}"
    for name in (
        *("save_every_n_epochs", "save_every_n_steps", "save_last_n_epochs", "save_last_n_steps", "save_state"),
        *("save_last_n_epochs_state", "save_last_n_steps_state", "save_state_on_train_end"),
        *("sample_at_first", "sample_every_n_epochs", "sample_every_n_steps", "sample_prompts"),
        *("metadata_author", "metadata_description", "metadata_license", "metadata_tags", "training_comment"),
    )
)
"""Parts of a key that decide which files there are and what they say of themselves, not what is learned: a training
may go on under others. musubi puts the random states back after sampling (trainer_base.py:838-870)."""
LEARNED = "pictures and captions"
"""The part of a key that is the digest of a training's records (plan/made_from.py)."""
SETTINGS = "dataset settings"
_KEYS = {f"--{option}": setting for setting, option in TRAIN_OPTIONS}
OF_LENGTH = frozenset({"--max_train_epochs", "--max_train_steps"})


def training_key(
    options: Iterable[Option],
    *,
    weights: str,
    dataset: str,
    learned: str,
    revision: str,
    preserved: str | None = None,
    held_out: str = "",
) -> dict[str, str]:
    """Everything the LoRA depends on, by names a person can read; the pictures and captions as one digest, `learned`.

    Which program trains is no part of it: musubi's own and the trainer extension learn the same.
    """
    key = {
        f"--{option.name}": " ".join(option.values) or "on" for option in options if option.name not in WITHOUT_EFFECT
    }
    return {
        **key,
        "weights": weights,
        SETTINGS: dataset,
        LEARNED: learned,
        "musubi": revision,
        **({"preserved class": preserved} if preserved is not None else {}),
        **({"held out": held_out} if held_out else {}),
    }


def why_train(
    key: Mapping[str, str],
    done: Mapping[str, str] | None,
    writes: Iterable[Path],
    say_learned: Callable[[str], str] = lambda _: "",
) -> str:
    """The reason to train; empty when the files on disk are what `key` would give."""
    if not done:
        return "not trained yet"
    changes = list(differences(done, key, say_learned).values())
    if changes:
        more = f", and {len(changes) - 3} more" if len(changes) > 3 else ""
        return "; ".join(changes[:3]) + more
    return damage(writes)


def differences(
    before: Mapping[str, str], now: Mapping[str, str], say_learned: Callable[[str], str] = lambda _: ""
) -> dict[str, str]:
    """The parts in which two keys differ, each with the difference in words; without those that older keys hold though
    they have no effect.

    `say_learned` tells what is different since a digest of pictures and captions, if anybody knows it.
    """

    def said(part: str) -> str:
        words = say_learned(before.get(part, "")) if part == LEARNED else ""
        return f"{part} changed: {words}" if words else _change(part, before.get(part), now.get(part))

    return {
        part: said(part)
        for part in {**before, **now}
        if before.get(part) != now.get(part) and part.removeprefix("--") not in WITHOUT_EFFECT
    }


def damage(writes: Iterable[Path]) -> str:
    """What is wrong with the first file that is missing or not whole; empty when all are there."""
    for path in writes:
        try:
            read_header(path)
        except FileNotFoundError:
            return f"{path.name} is missing"
        except (NotSafetensors, OSError) as error:
            return f"{path.name} is damaged: {error}"
    return ""


def _change(part: str, before: str | None, now: str | None) -> str:
    """In run.yaml's words: what was changed is a key there."""
    part = _KEYS.get(part, part)
    if part == LEARNED:
        return f"{part} changed"
    if before is None:
        return f"{part} {now} is new"
    if now is None:
        return f"{part} {before} is gone"
    was, is_now = ("were", "are") if part == SETTINGS else ("was", "is")
    return f"{part} {was} {before}, {is_now} {now}"
