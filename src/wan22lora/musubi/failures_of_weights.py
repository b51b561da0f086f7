"""Failures whose cause is a model file: the wrong one, a damaged one, one of another task or number format."""

from __future__ import annotations

from wan22lora.musubi.failure import FRAMES, KnownFailure

_THE_MODEL = "the model file under `models:` (high, low or dit)"

WEIGHTS = (
    KnownFailure(
        "wrong-mixed-precision",
        r"DiT weights are in (?P<dtype>fp16|bf16), mixed precision must be",
        "The model's weights are {dtype}, train.mixed_precision is not.",
        "train.mixed_precision: {dtype}",
    ),
    KnownFailure(
        "already-fp8",
        r"already in fp8 format, cannot scale|is already in torch\.float8\S* format",
        "The weights are in fp8 already, and fp8_scaled wants to make fp8 of fp16 or bf16 weights.",
        f"train.fp8_scaled: false, or an fp16 or bf16 file as {_THE_MODEL}",
    ),
    KnownFailure(
        "wrong-t5",
        r"Error\(s\) in loading state_dict for T5Encoder",
        "models.t5 is no UMT5 encoder in Wan's own layout; ComfyUI's umt5_xxl files and Hugging Face's do not fit.",
        "models.t5: models_t5_umt5-xxl-enc-bf16.pth (from Wan-AI/Wan2.1-T2V-14B)",
    ),
    KnownFailure(
        "vae-of-the-5b-model",
        r"Error\(s\) in loading state_dict for WanVAE_(?s:.)*?torch\.Size\(\[160, 12,",
        "models.vae is the VAE of Wan 2.2's 5B model; the 14B models use that of Wan 2.1.",
        "models.vae: wan_2.1_vae.safetensors (from Comfy-Org/Wan_2.1_ComfyUI_repackaged)",
    ),
    KnownFailure(
        "wrong-vae",  # strict=False leaves tensors that the file lacks on the meta device (wan/modules/vae.py:648-650)
        r"Error\(s\) in loading state_dict for WanVAE_|Cannot copy out of meta tensor",
        "models.vae is no Wan 2.1 VAE in Wan's own layout.",
        "models.vae: wan_2.1_vae.safetensors (from Comfy-Org/Wan_2.1_ComfyUI_repackaged)",
    ),
    KnownFailure(
        "fp8-scaled-file",
        r"Unexpected key\(s\) in state_dict: .*(?:scale_weight|scaled_fp8)",
        "The model is one of ComfyUI's fp8_scaled files, which musubi-tuner cannot load in any mode.",
        f"an fp16, bf16 or plain fp8_e4m3fn file as {_THE_MODEL}",
    ),
    KnownFailure(
        "not-wan21-image-to-video-weights",
        r"Missing key\(s\) in state_dict: .*\.k_img\.",
        "The task is Wan 2.1's image-to-video, the weights are not: they lack its k_img tensors.",
        "task: i2v-A14B for Wan 2.2's image-to-video weights",
    ),
    KnownFailure(
        "wan21-image-to-video-weights",
        r"Unexpected key\(s\) in state_dict: .*\.k_img\.",
        "The weights are those of Wan 2.1's image-to-video model, the task wants others.",
        f"the weights of the task as {_THE_MODEL}",
    ),
    KnownFailure(
        "weights-of-another-task",
        r"size mismatch for patch_embedding\.weight: .*?Size\(\[\d+, (?P<file>\d+),.*Size\(\[\d+, (?P<task>\d+),",
        "The weights take {file} input channels, the task {task} (16: text-to-video, 36: image-to-video, 48: 5B).",
        f"`task` and {_THE_MODEL} must fit: t2v files for t2v-A14B and t2v-14B, i2v files for i2v-A14B",
    ),
    KnownFailure(
        "wrong-model",
        r"Error\(s\) in loading state_dict for WanModel",
        "The weights have other tensors than the task's model: another size, another layout, or a changed file.",
        f"a 14B file of the task, as released by Wan-AI or repackaged by Comfy-Org, as {_THE_MODEL}",
    ),
    KnownFailure(
        "not-a-wan-model",
        r"Could not find the dtype in the model weights: (?P<path>.+)",
        "{path} is no Wan model in Wan's own layout (a diffusers file, a LoRA, or not the first of several parts?).",
        f"a Wan safetensors file as {_THE_MODEL}",
    ),
    KnownFailure(
        "shard-missing",
        r"FileNotFoundError: File (?P<path>.+-of-\d+\.safetensors) not found",
        "The model comes in several parts, and {path} is not there.",
        "put all parts into one folder",
    ),
    KnownFailure(
        # A pointer's or page's first bytes, read as a length, ask for exabytes: MemoryError (safetensors_utils.py:136)
        "damaged-weights",
        rf"in (?:_read_header|_deserialize_tensor)\n{FRAMES}"
        r".*(?:MemoryError|JSONDecodeError|UnicodeDecodeError|struct\.error|invalid for input of size)"
        r"|mmap length is greater than file size|PytorchStreamReader failed|invalid load key",
        "A model file is cut short, or is a download page or Git LFS pointer instead of the model.",
        "compare the file's size with that on the Hub and download it again",
    ),
)
