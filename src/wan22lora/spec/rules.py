"""Combinations that musubi accepts and that cost a night: each is refused here, with the reason.

Facts are musubi's at v0.3.4; TB stands for training/trainer_base.py and PC for training/parser_common.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from wan22lora.errors import Finding
from wan22lora.spec.document import Document
from wan22lora.spec.resolved import Dataset, Expert, Spec
from wan22lora.spec.tasks import Task

MINIMUM_LR_RATIO_SCHEDULERS = ("cosine_with_min_lr", "warmup_stable_decay", "rex")
GLOB_CHARACTERS = "[]*?"


def broken_rules(spec: Spec, document: Document) -> list[Finding]:
    """Every rule that the run breaks; those that hold for both experts are told once."""
    found: list[Finding] = []
    for expert in spec.experts:
        for rule in EXPERT_RULES:
            found.extend(rule(expert))
        found.extend(_timestep_range(expert, spec.task))
    for dataset in spec.datasets:
        found.extend(_dataset_rules(dataset))
    found.extend(_run_rules(spec, document))
    return list(dict.fromkeys(found))


def _needed(expert: Expert) -> Iterator[Finding]:
    reasons = {
        "optimizer": "musubi loads the 28 GB model and then fails without one (adamw, adamw8bit, …)",
        "learning_rate": "musubi would take 2e-6, which teaches nothing in a usual run",
        "rank": "musubi would take 4",
        "timestep_sampling": "musubi would take `sigma`, which turns the timestep range upside down",
        "mixed_precision": "it must be the weights' own format (fp16 for the released Wan 2.2 files)",
    }
    for key, reason in reasons.items():
        if getattr(expert.settings, key) is None:
            yield Finding(expert.where(key), f"is missing: {reason}", "a preset sets it: preset: style")


def _length(expert: Expert) -> Iterator[Finding]:
    settings = expert.settings
    if settings.epochs is None and settings.steps is None:
        yield Finding(expert.where("epochs"), "is missing: say how long to train", "epochs: 100, or steps: 3000")
    if settings.epochs is not None and settings.steps is not None:
        yield Finding(
            expert.where("steps"),
            "stands beside `epochs`, and musubi would ignore the steps (PC)",
            "keep one of them",
        )


def _alpha(expert: Expert) -> Iterator[Finding]:
    settings = expert.settings
    if settings.alpha == 1 and settings.rank is not None and settings.rank > 1:
        yield Finding(
            expert.where("alpha"),
            f"1 with rank {settings.rank} shrinks every update to 1/{settings.rank}: the LoRA would seem to do nothing",
            f"leave it out (alpha follows the rank) or write alpha: {settings.rank}",
        )


def _sampling(expert: Expert) -> Iterator[Finding]:
    settings = expert.settings
    sampling = settings.timestep_sampling
    if settings.timestep_shift is not None and sampling not in (None, "shift"):
        yield Finding(
            expert.where("timestep_shift"),
            f"is ignored by `timestep_sampling: {sampling}` (TB:578-613)",
            "remove it, or use timestep_sampling: shift",
        )
    if settings.sigmoid_scale is not None and sampling not in (None, "shift", "sigmoid"):
        yield Finding(expert.where("sigmoid_scale"), f"is ignored by `timestep_sampling: {sampling}`", "remove it")


def _scheduler(expert: Expert) -> Iterator[Finding]:
    settings = expert.settings
    scheduler = settings.lr_scheduler or "constant"
    ratio = settings.lr_scheduler_min_lr_ratio
    if ratio is not None and scheduler not in MINIMUM_LR_RATIO_SCHEDULERS:
        published = expert.from_preset_that_reproduces("lr_scheduler_min_lr_ratio")
        if published:
            yield Finding(
                expert.where("lr_scheduler_min_lr_ratio"),
                f"does nothing with `{scheduler}` in musubi (TB:381-388); it is passed because {published} passes it",
                level="warning",
            )
        else:
            yield Finding(
                expert.where("lr_scheduler_min_lr_ratio"),
                f"does nothing with `lr_scheduler: {scheduler}` in musubi (TB:381-388)",
                "remove it; for polynomial write lr_scheduler_args: {lr_end: 1.0e-5}",
            )
    if settings.lr_scheduler_power is not None and scheduler != "polynomial":
        yield Finding(expert.where("lr_scheduler_power"), f"is ignored by `lr_scheduler: {scheduler}`", "remove it")
    if settings.lr_scheduler_num_cycles is not None and scheduler != "cosine_with_restarts":
        yield Finding(
            expert.where("lr_scheduler_num_cycles"), f"is ignored by `lr_scheduler: {scheduler}`", "remove it"
        )
    if settings.lr_warmup_steps and scheduler == "constant":
        yield Finding(
            expert.where("lr_warmup_steps"),
            "stops musubi with `lr_scheduler: constant`",
            "lr_scheduler: constant_with_warmup",
        )
    if settings.lr_decay_steps is not None and scheduler != "warmup_stable_decay":
        yield Finding(expert.where("lr_decay_steps"), f"is ignored by `lr_scheduler: {scheduler}`", "remove it")
    if (settings.optimizer or "").lower().endswith("schedulefree") and scheduler != "constant":
        yield Finding(
            expert.where("optimizer"),
            f"{settings.optimizer} brings its own schedule; `lr_scheduler: {scheduler}` would be bypassed (TB:279-429)",
            "lr_scheduler: constant",
        )


def _precision(expert: Expert) -> Iterator[Finding]:
    settings = expert.settings
    if settings.fp8_scaled and not settings.fp8_base:
        yield Finding(expert.where("fp8_scaled"), "stops musubi without fp8_base (TB:1398)", "fp8_base: true")
    if settings.gradient_checkpointing_cpu_offload and not settings.gradient_checkpointing:
        yield Finding(
            expert.where("gradient_checkpointing_cpu_offload"),
            "does nothing without gradient_checkpointing",
            "gradient_checkpointing: true",
        )


def _checkpoints(expert: Expert) -> Iterator[Finding]:
    settings = expert.settings
    for kept, every in (("keep_last_epochs", "save_every_epochs"), ("keep_last_steps", "save_every_steps")):
        if getattr(settings, kept) is not None and getattr(settings, every) is None:
            yield Finding(expert.where(kept), f"does nothing without {every}", f"{every}: …")


def _arguments(expert: Expert) -> Iterator[Finding]:
    for key in ("optimizer_args", "lr_scheduler_args", "network_args"):
        for name, value in (getattr(expert.settings, key) or {}).items():
            if "=" in name or "=" in str(value):
                yield Finding(
                    expert.where(key),
                    f"`{name}: {value}` holds a `=`, at which musubi cuts (TB:172,304,1563)",
                    "none",
                )


def _options(expert: Expert) -> Iterator[Finding]:
    refused = {
        "dit_high_noise": "trains ONE LoRA for both experts (joint mode), not a pair; here each expert is trained by "
        "itself",
        "timestep_boundary": "belongs to joint mode; each expert has its own timestep_range here",
        "offload_inactive_dit": "belongs to joint mode",
        "dim_from_weights": "crashes musubi: it opens a file called True (TB:1566)",
        "config_file": "hides options from every check here: musubi's TOML takes any misspelt key (PC:780-811)",
        "huggingface_token": "would put the token into the process list and the logs; set HF_TOKEN instead",
        "wandb_api_key": "would put the key into the process list and the logs; set WANDB_API_KEY instead",
        "sage_attn": "cannot train (TB:1400)",
        "no_metadata": "would leave files that nobody can tell apart, and this program checks the metadata",
        "show_timesteps": "shows a chart and trains nothing",
    }
    for name, value in expert.options.items():
        where = str(expert.option_origins[name]) if name in expert.option_origins else f"musubi.{name}"
        if name in refused and value not in (None, False):
            yield Finding(where, refused[name], "remove it")
        elif name in ("sample_every_n_steps", "sample_every_n_epochs") and value == 0:
            yield Finding(where, "0 stops musubi with a division by zero", "remove it")
        elif name == "resume" and value:
            text = "musubi restores weights and optimizer, but counts, names and schedule start again at 0 (TB:1922)"
            yield Finding(where, text, level="warning")
        elif name == "block_swap_h2d_only" and value and not expert.settings.gradient_checkpointing:
            yield Finding(where, "needs gradient_checkpointing", "train.gradient_checkpointing: true")
        elif name == "persistent_data_loader_workers" and value and expert.settings.data_loader_workers == 0:
            yield Finding(where, "stops torch when there are no data-loader workers", "train.data_loader_workers: 2")


EXPERT_RULES: tuple[Callable[[Expert], Iterator[Finding]], ...] = (
    _needed,
    _length,
    _alpha,
    _sampling,
    _scheduler,
    _precision,
    _checkpoints,
    _arguments,
    _options,
)


def _timestep_range(expert: Expert, task: Task) -> Iterator[Finding]:
    wanted = expert.settings.timestep_range
    if wanted is None:
        return
    low, high = wanted
    where = expert.where("timestep_range")
    if not 0 <= low < high <= 1000:
        yield Finding(where, f"[{low}, {high}] must rise and lie within 0 and 1000", "[875, 1000]")
        return
    own = task.timestep_range(expert.name)
    if own is not None and (high <= own[0] or low >= own[1]):
        yield Finding(
            where,
            f"[{low}, {high}] lies outside {own[0]}-{own[1]}, where the {expert.name}-noise expert of {task.name} "
            "works: what it learned would never be used",
            f"[{own[0]}, {own[1]}], or leave it out",
        )


def _dataset_rules(dataset: Dataset) -> Iterator[Finding]:
    settings = dataset.settings
    if settings.resolution is None:
        yield Finding(dataset.where("resolution"), "is missing: say how large to train", "data: {resolution: 960}")
    else:
        sides = settings.resolution if isinstance(settings.resolution, tuple) else (settings.resolution,) * 2
        if min(sides) < 64:
            yield Finding(dataset.where("resolution"), f"{min(sides)} pixels are too few for Wan", "960, or [832, 480]")
        elif not settings.bucket and any(side % 16 for side in sides):
            text = "must be multiples of 16 when `bucket` is false: musubi rounds nothing then (BK:86-88)"
            yield Finding(dataset.where("resolution"), text, str([side // 16 * 16 for side in sides]))
    frames = [settings.frames] if isinstance(settings.frames, int) else settings.frames or []
    for count in frames:
        if count < 1 or count % 4 != 1:
            nearest = max(1, (count - 1) // 4 * 4 + 1)
            text = f"{count} is not 4N+1; musubi would take {nearest} with a line in its log that nobody reads"
            yield Finding(dataset.where("frames"), text, f"{nearest} or {nearest + 4}")
    if dataset.kind == "videos" and not frames and settings.frame_extraction != "full":
        text = "is missing: musubi would take a single frame of each clip"
        yield Finding(dataset.where("frames"), text, "data: {frames: 81}")
    if dataset.kind == "images":
        for key in ("frames", "frame_extraction", "frame_stride", "frame_sample", "max_frames"):
            origin = dataset.origins.get(key)
            if origin is not None and origin.path[0] == "datasets":
                yield Finding(str(origin), "is for clips; these are pictures", "remove it")
    for key, mode in (("frame_stride", "slide"), ("frame_sample", "uniform"), ("max_frames", "full")):
        if getattr(settings, key) is not None and settings.frame_extraction != mode and dataset.kind == "videos":
            yield Finding(dataset.where(key), f"is ignored unless frame_extraction is {mode}", "remove it")


def _run_rules(spec: Spec, document: Document) -> Iterator[Finding]:
    pair = len(spec.experts) > 1
    models = document.data.get("models") or {}
    for key in ("dit",) if pair else ("high", "low"):
        if key in models:
            where = f"{document.place(('models', key))} models.{key}"
            yield Finding(
                where,
                f"is not used by {spec.task.name}",
                "models.high and models.low" if pair else "models.dit",
            )
    if not pair:
        for key in ("experts", "musubi"):
            for name in document.data.get(key) or {}:
                if name in ("high", "low", "train-high", "train-low"):
                    where = f"{document.place((key, name))} {key}.{name}"
                    yield Finding(where, f"{spec.task.name} has a single expert", "write it under train")
    if pair:
        names = [expert.settings.output_name for expert in spec.experts]
        if names[0] is not None and names[0] == names[1]:
            yield Finding(spec.experts[0].where("output_name"), "is the same for both experts: one file would win", "…")
        files = [expert.settings.checkpoint for expert in spec.experts]
        if files[0] is not None and files[0] == files[1]:
            yield Finding(spec.experts[0].where("checkpoint"), "is the same file for both experts", "two files")
        if spec.models.get("high") and spec.models.get("high") == spec.models.get("low"):
            where = f"{document.place(('models', 'low'))} models.low"
            yield Finding(where, "is the same file as models.high: both LoRAs would fit one expert", "two files")
    bad = sorted(set(str(spec.folder)) & set(GLOB_CHARACTERS))
    if bad:
        yield Finding(
            f"{document.place(('folder',))} folder",
            f"{spec.folder} holds {' '.join(bad)}: musubi reads its caches with a pattern and would find none (DS:508)",
            "folder: a path without [ ] * ?",
        )
