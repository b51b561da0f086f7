"""The keys of run.yaml, of a preset and of a hardware file, each with its documentation.

Every field may be left out: a run is the sum of its layers (preset, hardware, run.yaml), and what must be there is
checked on the sum by rules.py.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, Strict, StringConstraints

from wan22lora.spec.extension import EmaSettings, PreservationSettings, StateSettings, ValidationSettings
from wan22lora.spec.keys import (
    Argument,
    Count,
    Keys,
    NotNegative,
    OptionValue,
    PathText,
    Percentage,
    Positive,
    Scalar,
    Side,
)
from wan22lora.spec.tasks import TaskName

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"


class MemorySettings(Keys):
    """Options that trade time for GPU memory and never change what is learned."""

    gradient_checkpointing: bool | None = None
    """Recompute activations in the backward pass instead of keeping them (musubi `--gradient_checkpointing`). Left out,
    as the GPU's memory requires."""
    gradient_checkpointing_cpu_offload: bool | None = None
    """Keep the remaining activations in RAM. Needs gradient_checkpointing; not at the article's pin."""
    blocks_to_swap: int | None = Field(None, ge=0, le=38)
    """How many of the 40 blocks wait in RAM for their turn (0 to 38). Left out, as few as the GPU's memory allows;
    with `trainer: plain` those of `hardware:`. Loading then takes 17 GB of RAM, 44 GB with
    `trainer: plain`. musubi accepts 39 too and stops in the first backward pass."""


class TrainSettings(MemorySettings):
    """How an expert is trained. Written under `train:` for both, under `experts.high` or `experts.low` for one."""

    learning_rate: float | None = Field(None, gt=0, le=1)
    """The learning rate at its highest. musubi's own default, 2e-6, teaches nothing in a usual run."""
    optimizer: str | None = Field(None, min_length=1)
    """The optimizer. adamw, adamw8bit, adafactor, or the full name of a class such as `prodigyopt.Prodigy`."""
    optimizer_args: dict[str, Argument] | None = None
    """Arguments of the optimizer. For example `{weight_decay: 0.1, betas: [0.9, 0.99]}`."""
    lr_scheduler: str | None = Field(None, min_length=1)
    """How the learning rate goes down. constant, constant_with_warmup, linear, cosine, cosine_with_restarts,
    cosine_with_min_lr, polynomial, inverse_sqrt, warmup_stable_decay, rex or piecewise_constant."""
    lr_scheduler_power: Positive | None = None
    """The exponent of `polynomial`. 1 falls in a line, 8 falls early."""
    lr_scheduler_min_lr_ratio: float | None = Field(None, ge=0, le=1)
    """Where `cosine_with_min_lr`, `warmup_stable_decay` and `rex` end, as a share of the learning rate.
    `polynomial` ignores it."""
    lr_scheduler_num_cycles: int | None = Field(None, ge=1)
    """Restarts of `cosine_with_restarts`."""
    lr_scheduler_args: dict[str, Argument] | None = None
    """Further arguments of the scheduler, for example `{lr_end: 1.0e-5}` for `polynomial`."""
    lr_warmup_steps: Count | Percentage | None = None
    """Steps, or a share of the run (0.05 or 5%), in which the learning rate rises to its value."""
    lr_decay_steps: Count | Percentage | None = None
    """Steps, or a share (0.2 or 20%), of the decay of `warmup_stable_decay`."""

    rank: int | None = Field(None, ge=1, le=512)
    """The LoRA's rank (musubi `--network_dim`). The file grows with it: 4,792,320 numbers for each rank."""
    alpha: Positive | None = None
    """The LoRA's alpha; updates are scaled by alpha / rank. Follows the rank when it is left out."""
    network_dropout: float | None = Field(None, ge=0, lt=1)
    """Share of the LoRA's activations dropped in training."""
    network_args: dict[str, Scalar] | None = None
    """Arguments of musubi's LoRA module, for example `{loraplus_lr_ratio: 4}`."""
    network_weights: PathText | None = None
    """A LoRA file to start from instead of a new one."""

    epochs: int | None = Field(None, ge=1)
    """How often every picture is seen. Either this or `steps`."""
    steps: int | None = Field(None, ge=1)
    """Optimizer steps of each expert. Either this or `epochs`."""
    gradient_accumulation: int | None = Field(None, ge=1)
    """Batches whose gradients are added up for one optimizer step."""
    max_grad_norm: NotNegative | None = None
    """Gradients longer than this are shortened to it; 0 leaves them as they are."""
    seed: int | None = Field(None, ge=0, lt=2**32)
    """The seed of shuffling and noise."""

    timestep_sampling: Literal["shift", "sigmoid", "uniform", "logsnr"] | None = None
    """How timesteps are drawn. `sigma`, musubi's default, turns the timestep range upside down and is refused."""
    timestep_shift: Positive | None = None
    """The shift of `timestep_sampling: shift`; above 1 it prefers noisier timesteps."""
    sigmoid_scale: Positive | None = None
    """The spread of `sigmoid` and `shift`."""
    preserve_distribution_shape: bool | None = None
    """Draw timesteps again until they fall into the range. Otherwise the distribution is squeezed into the range."""
    timestep_range: tuple[int, int] | None = None
    """Lowest and highest timestep, 0 to 1000. Each expert has its own by the task: 875 (image-to-video: 900) divides
    them."""

    save_every_epochs: int | None = Field(None, ge=1)
    """Write a checkpoint after every so many epochs."""
    save_every_steps: int | None = Field(None, ge=1)
    """Write a checkpoint after every so many steps."""
    keep_last_epochs: int | None = Field(None, ge=1)
    """Keep the checkpoints of the last so many epochs, delete older ones."""
    keep_last_steps: int | None = Field(None, ge=1)
    """Keep the checkpoints of the last so many steps, delete older ones."""
    save_state: bool | None = None
    """Write musubi's own state with every checkpoint (about 0.9 GB each at rank 16), for other programs. The
    trainer extension continues without it."""
    save_precision: Literal["fp32", "fp16", "bf16"] | None = None
    """The LoRA file's number format; fp32 files are twice as large. The article's pin always takes the weights' own."""

    mixed_precision: Literal["no", "fp16", "bf16"] | None = None
    """The number format of the computation; must be that of the weights (fp16 for the released Wan 2.2 files)."""
    fp8_base: bool | None = None
    """Hold the frozen weights in 8 bits."""
    fp8_scaled: bool | None = None
    """With fp8_base: scale each block of weights, more exact. Needs fp16 or bf16 weights."""
    attention: Literal["sdpa", "xformers", "flash", "flash3"] | None = None
    """Who computes attention. sdpa is part of torch; the others are packages of musubi's environment."""
    data_loader_workers: int | None = Field(None, ge=0)
    """Processes that read the caches ahead (musubi's own default is 8)."""

    preservation: PreservationSettings | None = None
    """Keeps what the model makes of the trigger's class. With `{class: person}`, captions in which `person` takes the
    trigger's place go on giving what they gave before the training (differential output preservation). Needs
    `trigger`."""
    ema: EmaSettings | None = None
    """Saves a moving average of the LoRA beside each checkpoint. For example `{decay: 0.999}`."""
    states: StateSettings | None = None
    """How often the training saves all that it needs to continue. After a stop, a crash or a power cut it goes on as
    if nothing had happened, to the bit."""
    max_nan_steps: int | None = Field(None, ge=1)
    """Steps in a row without a finite loss, after which the training stops (3 when left out). Not with
    `trainer: plain`."""

    checkpoint: PathText | None = None
    """The expert's weights, when they are not those under `models:`."""
    output_name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._+-]+$")] | None = None
    """The LoRA's file name without `.safetensors`; NAME-high and NAME-low when left out."""
    title: str | None = None
    """The title in the file's metadata; the output name when left out."""
    author: str | None = None
    """The author in the file's metadata."""


class DataSettings(Keys):
    """How pictures and clips are read. Written under `data:` for all datasets, or on a dataset for that one."""

    resolution: Side | tuple[Side, Side] | None = None
    """Size of the training pictures. 960, or [960, 544] for width and height; buckets keep its area, not its shape."""
    batch_size: int | None = Field(None, ge=1)
    """Pictures of one bucket that are trained together."""
    repeats: int | None = Field(None, ge=1)
    """How often each item appears in an epoch; balances datasets of different size."""
    caption_extension: Annotated[str, StringConstraints(pattern=r"^\.[^/\\]+$")] | None = None
    """Captions are files beside the pictures with this ending, dot included."""
    bucket: bool | None = None
    """Sort pictures by shape instead of cropping all to one."""
    bucket_no_upscale: bool | None = None
    """Leave pictures that are smaller than the resolution at their size."""
    frames: int | list[int] | None = None
    """Clips: how many frames are taken (1, 5, 9, … 81: 4N+1); several lengths may be given."""
    frame_extraction: Literal["head", "chunk", "slide", "uniform", "full"] | None = None
    """Clips: which frames: the first, all in chunks, a sliding window, evenly spread windows, or the whole clip."""
    frame_stride: int | None = Field(None, ge=1)
    """Clips, `slide`: frames between two windows."""
    frame_sample: int | None = Field(None, ge=1)
    """Clips, `uniform`: how many windows."""
    max_frames: int | None = Field(None, ge=1)
    """Clips, `full`: the longest clip."""
    source_fps: Literal["auto", "as-is"] | Annotated[float, Strict(), Field(gt=0)] | None = None
    """Clips: their frame rate; frames are dropped to reach Wan's 16 per second. `auto` reads it from the clips,
    `as-is` drops none."""


class DatasetSettings(DataSettings):
    """One folder or list of pictures or clips; exactly one of the four sources."""

    images: PathText | None = None
    """A folder of pictures."""
    videos: PathText | None = None
    """A folder of clips."""
    image_jsonl: PathText | None = None
    """A file with one JSON object a line: image_path and caption."""
    video_jsonl: PathText | None = None
    """A file with one JSON object a line: video_path and caption."""


class ModelSettings(Keys):
    """Where the weights are. What is left out comes from the machine settings."""

    high: PathText | None = None
    """The high-noise expert."""
    low: PathText | None = None
    """The low-noise expert."""
    dit: PathText | None = None
    """The only model of a single-expert task."""
    vae: PathText | None = None
    """wan_2.1_vae.safetensors (Wan 2.2 A14B uses it too)."""
    t5: PathText | None = None
    """models_t5_umt5-xxl-enc-bf16.pth."""


class ExpertSettings(Keys):
    """What differs between the two experts; each accepts every key of `train:`."""

    high: TrainSettings | None = None
    """The high-noise expert."""
    low: TrainSettings | None = None
    """The low-noise expert."""


OptionName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]
StepOptions = dict[OptionName, OptionValue | None]


class MusubiOptions(Keys):
    """Options of musubi's programs that have no key of their own, by step; checked against the pinned revision."""

    model_config = ConfigDict(alias_generator=lambda name: name.replace("_", "-"), populate_by_name=False)

    cache_latents: StepOptions | None = None
    """wan_cache_latents, for example `{vae_cache_cpu: true}`."""
    cache_text: StepOptions | None = None
    """wan_cache_text_encoder_outputs, for example `{fp8_t5: true}`."""
    train: StepOptions | None = None
    """wan_train_network, both experts."""
    train_high: StepOptions | None = None
    """wan_train_network, the high-noise expert only."""
    train_low: StepOptions | None = None
    """wan_train_network, the low-noise expert only."""


class Partial(Keys):
    """The keys that a run.yaml and a preset have in common."""

    preset: str | None = None
    """The preset that this file starts from (`wan22lora presets list`)."""
    hardware: Literal["auto", "16gb", "24gb", "48gb", "80gb"] | None = None
    """The GPU memory that the run is planned for: what is free on the GPU now (`auto`, the default), or a card of this
    size. What you write of `gradient_checkpointing` and `blocks_to_swap` wins. Never changes what is learned."""
    task: TaskName | None = None
    """t2v-A14B and i2v-A14B train a pair of experts, t2v-14B the one model of Wan 2.1."""
    pin: str | None = None
    """The revision of musubi-tuner: v0.3.4 (default) or article."""
    trainer: Literal["extension", "plain"] | None = None
    """What trains. `extension` (default at v0.3.4) runs musubi's models, data and optimizers in a loop of its own,
    which continues to the bit, stops cleanly and preserves. `plain` is musubi's own program, as always at article."""
    speed: Literal["reference", "fast", "max"] | None = None
    """How the trainer computes: `fast` (default) musubi's blocks in 0.4 to 0.6 of the time, by the GPU's room,
    `reference` by musubi's modules, as is always done with `trainer: plain`. `max` takes up to a quarter off `fast` by
    an approximation: products with frozen weights in fp8. It needs `fp8_base` and a GPU that has such products (compute
    capability 8.9 and later). Left out, what cannot be fast is trained by musubi's modules with a word about it;
    `speed: fast` or `max` written down makes that an error."""
    parallel: Literal["experts", "ddp", "off"] | None = None
    """What several GPUs are for. `experts` (default) trains both experts at the same time, each on a GPU of its own,
    where two are to be had: those that CUDA_VISIBLE_DEVICES names, or without it the idle ones of a machine whose GPUs
    are alike. `off` trains one after the other on one GPU, and encodes captions after pictures. What is learned is the
    same. `ddp` trains one expert after the other over all these GPUs, which share its batches: a step then learns from
    as many batches as there are GPUs. Not with `trainer: plain`."""
    stop_grace: Annotated[float, Field(gt=0)] | None = None
    """Seconds that a training may take to end its step and save its state when it is stopped (30 when left out)."""
    on_oom: Literal["stop", "retry"] | None = None
    """When the GPU's memory does not suffice. Left out, memory settings that wan22lora chose are lowered step by step,
    and for those that you wrote the next one to try is named. `stop` stops in both cases, `retry` goes on in both."""
    validation: ValidationSettings | None = None
    """Keeps some items out of the training and measures the loss on them, so that overfitting shows. For example
    `{hold_out: 3}`."""
    data: DataSettings | None = None
    """Settings of all datasets."""
    models: ModelSettings | None = None
    """Weights."""
    train: TrainSettings | None = None
    """Settings of both experts."""
    experts: ExpertSettings | None = None
    """Settings of one expert."""
    musubi: MusubiOptions | None = None
    """Further options of musubi's programs, by step."""


class RunFile(Partial):
    """run.yaml: pictures or clips in, a pair of Wan 2.2 LoRAs out."""

    name: Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=100)]
    """The run's name: its folder runs/NAME and its LoRA files. Letters, digits and . _ + - only."""
    trigger: str | None = Field(None, min_length=1)
    """The word that calls the LoRA up; captions without it are pointed out, and refused where preservation needs
    it."""
    images: PathText | None = None
    """A folder of pictures with captions; short for one entry under `datasets:`."""
    videos: PathText | None = None
    """A folder of clips with captions; short for one entry under `datasets:`."""
    datasets: list[DatasetSettings] | None = Field(None, min_length=1)
    """Several folders or lists."""
    folder: PathText | None = None
    """Where the run lives, when not in runs/NAME beside this file."""


class PresetFile(Partial):
    """A preset: a partial run.yaml with a summary."""

    summary: str
    """One line for `wan22lora presets list`."""
    reproduces: str | None = None
    """The published commands that the preset repeats option for option, options without effect included."""


class HardwareFile(Keys):
    """One class of cards: its memory, and what musubi's own program (`trainer: plain`) is given there."""

    summary: str
    """One line for a person."""
    gpu_memory_gib: float
    """Under `trainer: plain` `hardware: auto` takes the largest class that the GPU's free memory reaches."""
    usable_gib: float
    """What a training may allocate on such a card."""
    images: MemorySettings
    """Settings when only pictures are trained."""
    videos: MemorySettings
    """Settings when clips are trained."""


def schema() -> dict[str, Any]:
    """The JSON schema of run.yaml, for editors."""
    described = RunFile.model_json_schema(by_alias=True)
    for step in described["$defs"]["MusubiOptions"]["properties"].values():
        for branch in step.get("anyOf", ()):
            if "patternProperties" in branch:
                branch["additionalProperties"] = False
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **described,
        "title": "wan22lora run.yaml",
    }
