"""What a run takes of the machine: RAM, GPU memory, shared memory, room on disks, packages. All amounts in bytes.

RAM and GPU memory were measured on an H200 (docs/benchmarks.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wan22lora.dataset.loads import BucketLoad
from wan22lora.dataset.predict import batches_per_epoch, epochs_of, total_steps
from wan22lora.doctor.run_facts import Run
from wan22lora.musubi.environment import trackers_of
from wan22lora.musubi.names import Saving, saved
from wan22lora.plan.at_once import are_at_once
from wan22lora.plan.choice import expected_gib
from wan22lora.plan.class_captions import class_of
from wan22lora.plan.fast_memory import LORA_NUMBERS, largest
from wan22lora.plan.loading_ram import swapping_ram
from wan22lora.plan.memory import loading_gib
from wan22lora.spec.presets import CONTEXT_GIB
from wan22lora.spec.resolved import Expert, Spec
from wan22lora.trainer.options import OPTIONS

GIB = 2**30
RAM_TEXT = 12_500_000_000
"""The text encoder passes through RAM: 11.2 GiB."""
RAM_OFFLOAD = 10_500_000_000
"""Activations kept in RAM: 9.3 GiB for clips of 832×480×49."""
RAM_LEAST = 3_500_000_000
"""torch, its libraries and the data loaders: 3.0 GiB."""
STATE_NUMBERS = 3
"""A state holds the LoRA and two values of AdamW for each of its numbers, in 32 bits."""
STATES_KEPT = next(int(str(option.default)) for option in OPTIONS if option.name == "states_keep_last")
"""Of each training, by the trainer extension, where run.yaml does not say."""
PREFETCHED = 2
"""Batches that each data-loader process keeps ready (torch's default)."""
TEXT_BYTES = 512 * 4096 * 2
"""A caption's encoding at its longest."""


@dataclass(frozen=True)
class Need:
    """So many bytes, and for what."""

    amount: int
    what: str
    less: str = ""
    """What run.yaml may say for less of it; empty where nothing is known."""


def ram_needs(run: Run, gpus: Sequence[str] = ("0",)) -> Iterator[Need]:
    """What each step that is still to run takes of the RAM, those together that run at the same time on these GPUs."""
    if "cache-text" in _stale_steps(run):
        yield Need(RAM_TEXT, "encoding captions")
    experts = experts_to_train(run)
    each = [_training_ram(run, expert) for expert in experts]
    if run.spec is not None and are_at_once(run.spec, [expert.step for expert in experts], gpus):
        largest = max(each, key=lambda need: need.amount)
        amount = sum(need.amount for need in each)
        yield Need(amount, f"training both experts at the same time ({largest.what})", "parallel: off in run.yaml")
        return
    processes = run.prepared.processes if run.prepared is not None else 1
    for need in each:
        if processes > 1:
            what = f"{need.what} in {processes} processes"
            yield Need(processes * need.amount, what, "parallel: experts in run.yaml")
        else:
            yield need


def _training_ram(run: Run, expert: Expert) -> Need:
    settings = expert.settings
    if settings.blocks_to_swap:
        return Need(
            swapping_ram(run.spec, expert, run.weights),
            f"loading an expert with `blocks_to_swap: {settings.blocks_to_swap}`",
            "train: {blocks_to_swap: 0} in run.yaml on a card of 48 GB",
        )
    if settings.gradient_checkpointing_cpu_offload:
        return Need(RAM_OFFLOAD, "`gradient_checkpointing_cpu_offload: true`")
    return Need(RAM_LEAST, "a training")


def gpu_needs(run: Run) -> Iterator[Need]:
    """What each training that is still to run takes of the GPU, as far as it was measured (plan/choice.py)."""
    if run.spec is None:
        return
    batch = largest(run.scans)
    for expert in experts_to_train(run):
        training = expected_gib(run.spec, expert, batch)
        if training is None:
            continue
        loading = loading_gib(run.spec, expert, run.weights)
        what = "loading an expert" if loading > training else "the largest batch"
        yield Need(int((max(loading, training) + CONTEXT_GIB) * GIB), what)


def shared_memory_need(run: Run) -> Need | None:
    """The batches that data-loader processes hold ready; None where nobody reads ahead."""
    workers = max((expert.settings.data_loader_workers or 0 for expert in experts_to_train(run)), default=0)
    if not workers or run.spec is None:
        return None
    sizes = ((_latents_bytes(run.spec, load.bucket) + TEXT_BYTES) * batch for load, batch in _batches(run))
    largest = max(sizes, default=0)
    return Need((workers * PREFETCHED + 1) * largest, f"{workers} data-loader processes")


def run_folder_needs(run: Run) -> Iterator[Need]:
    """What the run will write into its folder: caches, checkpoints, states."""
    if run.spec is None:
        return
    if "cache-latents" in _stale_steps(run):
        texts = 1 + len({class_ for expert in run.spec.experts if (class_ := class_of(expert)) is not None})
        sizes = (load.files * (_latents_bytes(run.spec, load.bucket) + texts * TEXT_BYTES) for load, _ in _batches(run))
        yield Need(sum(sizes), "caches")
    for expert in experts_to_train(run):
        yield from _outputs(run, expert)


def modules_for(spec: Spec) -> dict[str, str]:
    """Modules that a run imports beside the usual ones → the setting that asks for each."""
    wanted: dict[str, str] = {}
    attention = {"xformers": "xformers.ops", "flash": "flash_attn", "flash3": "flash_attn_interface"}
    for expert in spec.experts:
        settings = expert.settings
        if settings.attention in attention:
            wanted.setdefault(attention[settings.attention], f"attention: {settings.attention}")
        optimizer = settings.optimizer or ""
        if optimizer.lower().endswith("8bit") and "." not in optimizer:
            wanted.setdefault("bitsandbytes", f"optimizer: {optimizer}")
        elif "." in optimizer:
            wanted.setdefault(optimizer.rpartition(".")[0], f"optimizer: {optimizer}")
        trackers, option = trackers_of(expert.options)
        for module in trackers:
            wanted.setdefault(module, option)
    return wanted


def _batches(run: Run) -> Iterator[tuple[BucketLoad, int]]:
    """Every bucket of the run with the size of its largest batch."""
    for each in run.scans:
        for load in each.loads:
            yield load, min(each.source.batch_size, load.count)


def _outputs(run: Run, expert: Expert) -> Iterator[Need]:
    settings, accumulation = expert.settings, expert.settings.gradient_accumulation or 1
    assert run.spec is not None
    numbers = LORA_NUMBERS * (settings.rank or 4)
    # At the article's pin a LoRA is saved in the weights' own format (hv_train_network.py:1875).
    precision = settings.save_precision or ("fp32" if run.spec.pin.name == "v0.3.4" else settings.mixed_precision)
    each = numbers * (2 if precision in ("fp16", "bf16") else 4)
    batches = run.prepared.batches_per_epoch if run.prepared else batches_per_epoch(run.scans)
    batches = math.ceil(batches / (run.prepared.processes if run.prepared else 1))
    steps = total_steps(batches, accumulation=accumulation, epochs=settings.epochs, steps=settings.steps)
    epochs = settings.epochs or epochs_of(batches, steps, accumulation)
    files = saved(expert.step, epochs=epochs, steps=steps, saving=_saving(expert))
    # musubi deletes an outdated file after it has written the next one, so there is one more for a moment.
    removing = settings.keep_last_epochs is not None or settings.keep_last_steps is not None
    checkpoints = len(files.checkpoints) + (1 if removing else 0)
    yield Need(checkpoints * each * (2 if settings.ema else 1), "LoRA files")
    states = len(files.states) + (1 if removing and files.states else 0)
    amount = 4 * numbers * (STATE_NUMBERS * states + _numbers_of_own_states(run.spec, expert))
    if amount:
        yield Need(amount, "states")


def _numbers_of_own_states(spec: Spec, expert: Expert) -> int:
    """How many numbers the trainer extension keeps for each of the LoRA's; the average is one more in each state."""
    settings = expert.settings
    kept = (settings.states.keep_last if settings.states else None) or STATES_KEPT
    return kept * (STATE_NUMBERS + (1 if settings.ema else 0)) if spec.trainer == "extension" else 0


def _saving(expert: Expert) -> Saving:
    settings, options = expert.settings, expert.options

    def number(name: str) -> int | None:
        value = options.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    return Saving(
        every_epochs=settings.save_every_epochs,
        every_steps=settings.save_every_steps,
        last_epochs=settings.keep_last_epochs,
        last_steps=settings.keep_last_steps,
        last_epochs_state=number("save_last_n_epochs_state"),
        last_steps_state=number("save_last_n_steps_state"),
        state=bool(settings.save_state),
        state_at_end=bool(options.get("save_state_on_train_end")),
    )


def _latents_bytes(spec: Spec, bucket: tuple[int, ...]) -> int:
    """One cache file of latents: 16 channels in 16 bits; image-to-video adds as many and a mask for the first frame."""
    width, height, frames = (*bucket, 1)[:3]
    numbers = 16 * (width // 8) * (height // 8) * ((frames - 1) // 4 + 1)
    return math.ceil(numbers * 2 * (2.25 if spec.task.image_to_video else 1))


def _stale_steps(run: Run) -> frozenset[str]:
    if run.prepared is not None:
        return frozenset(step.id for step in run.prepared.plan.steps if not step.fresh)
    experts = run.spec.experts if run.spec else ()
    return frozenset({"cache-latents", "cache-text", *(expert.step for expert in experts)})


def experts_to_train(run: Run) -> tuple[Expert, ...]:
    """Those whose training is not finished."""
    stale = _stale_steps(run)
    return tuple(expert for expert in run.spec.experts if expert.step in stale) if run.spec else ()
