"""Failures whose cause is the machine or musubi's Python environment: memory, disk, GPU, packages, network."""

from __future__ import annotations

from wan22lora.musubi.failure import KnownFailure

_OUT_OF_GPU_MEMORY = (
    r"CUDA out of memory|OutOfMemoryError|CUDA error: out of memory|CUDA_ERROR_OUT_OF_MEMORY|CUBLAS_STATUS_ALLOC_FAILED"
)
_ENVIRONMENT = "musubi's environment"
RAM_TAKEN = (
    "loading an expert with train.blocks_to_swap takes 17 GB of it, 44 GB with trainer: plain, "
    "and the text encoder 12.5 GB"
)
RAM_FIX = (
    "close other programs or take a machine with more RAM (a container's own limit counts); "
    "train.blocks_to_swap: 0 where the GPU has room, and train.data_loader_workers: 0"
)

DISK = (
    KnownFailure(
        "disk-full",
        r"No space left on device|Disk quota exceeded|There is not enough space on the disk",
        "The disk is full.",
        "make room, or put the run elsewhere with `folder`; each state of train.save_state takes about 1 GB at rank 16",
    ),
)

MEMORY = (
    KnownFailure(
        "gpu-memory-caching",
        _OUT_OF_GPU_MEMORY,
        "The GPU's memory is too small to encode pictures or clips of this size.",
        "musubi.cache-latents.vae_cache_cpu: true, then a smaller data.resolution or fewer data.frames; "
        "is another program using the GPU (nvidia-smi)?",
        programs=("wan_cache_latents",),
    ),
    KnownFailure(
        "gpu-memory-text-encoder",
        _OUT_OF_GPU_MEMORY,
        "The text encoder (11 GB) does not fit into the GPU's memory.",
        "musubi.cache-text.fp8_t5: true; is another program using the GPU (nvidia-smi)?",
        programs=("wan_cache_text_encoder_outputs",),
    ),
    KnownFailure(
        "gpu-memory-loading",
        _OUT_OF_GPU_MEMORY,
        "The model did not fit into the GPU's memory while it was loaded: with fp8_base alone, 28 GB of fp16 weights "
        "go there first.",
        "hardware: 24gb, or train.blocks_to_swap: 1 (loads in RAM), or train.fp8_scaled: true with fp8_base; "
        "is another program using the GPU (nvidia-smi)?",
        phases=("loading",),
    ),
    KnownFailure(
        "gpu-memory-first-step",
        _OUT_OF_GPU_MEMORY,
        "The first training step did not fit into the GPU's memory.",
        "hardware: 24gb or 16gb; or train.gradient_checkpointing: true, more train.blocks_to_swap, a smaller "
        "data.resolution, fewer data.frames, data.batch_size: 1",
        phases=("first step",),
    ),
    KnownFailure(
        "gpu-memory-training",
        _OUT_OF_GPU_MEMORY,
        "The GPU's memory ran out in the middle of the training: a larger bucket, a sample, or another program.",
        "a few more train.blocks_to_swap, or a smaller data.resolution; is another program using the GPU (nvidia-smi)?",
    ),
    KnownFailure(
        "shared-memory",
        r"out of shared memory|unable to (?:open|mmap|write|allocate) .*shared memory|insufficient shared memory",
        "The data-loader processes ran out of shared memory, which containers limit to 64 MB.",
        "train.data_loader_workers: 0, or start the container with --shm-size 2g",
    ),
    KnownFailure(
        "ram",
        r"^MemoryError|DefaultCPUAllocator: .*memory|Unable to allocate [\d.]+ .iB|Cannot allocate memory"
        r"|is killed by signal: Killed",
        f"The machine's RAM ran out: {RAM_TAKEN}.",
        RAM_FIX,
    ),
)

GPU = (
    KnownFailure(
        "torch-without-cuda",
        r"Torch not compiled with CUDA enabled",
        f"The PyTorch in {_ENVIRONMENT} is the build without CUDA.",
        f"install a CUDA build of torch in {_ENVIRONMENT}; `wan22lora train run.yaml --rehearse` needs none",
    ),
    KnownFailure(
        "driver-too-old",
        r"NVIDIA driver on your system is too old|CUDA driver version is insufficient",
        "The NVIDIA driver is older than what this PyTorch was built for.",
        f"update the driver, or install a torch for an older CUDA in {_ENVIRONMENT}",
    ),
    KnownFailure(
        "no-gpu",
        r"Found no NVIDIA driver|No CUDA GPUs are available|no CUDA-capable device|CUDA driver initialization failed",
        "No NVIDIA GPU is in reach of the program.",
        "check nvidia-smi, CUDA_VISIBLE_DEVICES and, in a container, --gpus all; "
        "`wan22lora train run.yaml --rehearse` needs none",
    ),
    KnownFailure(
        "gpu-too-new",
        r"no kernel image is available for execution|is not compatible with the current PyTorch installation",
        "This PyTorch was not built for this GPU (an RTX 50 needs torch 2.7 with CUDA 12.8 or newer).",
        f"install a newer torch in {_ENVIRONMENT}",
    ),
    KnownFailure(
        "attention-package-missing",
        r"NameError: name '(?:(?P<xformers>xops)|(?P<flash>flash_attn\w*))' is not defined",
        f"The package that train.attention names is not installed in {_ENVIRONMENT} "
        "(musubi notices only at the first step).",
        "train.attention: sdpa, or install the package (xformers, flash-attn) for this torch",
    ),
    KnownFailure(
        "attention-package-unfit",
        r"No operator found for `memory_efficient_attention|CUDA error \(.*(?:fmha|flash).*\)"
        r"|FlashAttention only supports",
        "The package that train.attention names does not fit this GPU, this torch or this precision.",
        "train.attention: sdpa",
    ),
    KnownFailure(
        "dtypes-clash",
        r"mat1 and mat2 must have the same dtype|Input type \(.+\) and (?:bias|weight) type \(.+\) should be the same",
        "Numbers of two formats met: mixed precision is off, or is not that of the weights.",
        "train.mixed_precision: fp16 for fp16 weights, bf16 for bf16 weights (`no` works with fp32 weights only)",
    ),
    KnownFailure(
        "gpu-fault",
        r"CUDA error: (?P<what>.+)|(?P<xid>uncorrectable ECC error)",
        "The GPU reports: {what}{xid}.",
        "start again; if it comes back, restart the machine or rent another",
    ),
)

PACKAGES = (
    KnownFailure(
        "bitsandbytes-missing",
        r"No bitsandbytes /|No module named 'bitsandbytes'",
        f"8-bit optimizers need bitsandbytes, which is not in {_ENVIRONMENT}.",
        f"install bitsandbytes in {_ENVIRONMENT}, or train.optimizer: adamw",
    ),
    KnownFailure(
        "torchvision-unfit",
        r"operator torchvision::nms does not exist|No module named 'torchvision'|Couldn't load custom C\+\+ ops",
        f"torchvision is missing in {_ENVIRONMENT} or belongs to another torch.",
        "install torch and torchvision together, from the same index",
    ),
    KnownFailure(
        "tokenizer-out-of-reach",
        r"Unrecognized model in Wan-AI/|couldn't connect to '[^']+' to load|LocalEntryNotFoundError"
        r"|additional_chat_templates|Can't load tokenizer for",
        "The text encoder's tokenizer (google/umt5-xxl in Wan-AI/Wan2.1-T2V-14B) is not in the Hub cache, and the Hub "
        "could not be reached.",
        "run once with a connection, or copy that folder into HF_HOME; with it there, set HF_HUB_OFFLINE=1",
    ),
    KnownFailure(
        "compiler-missing",
        r"Cannot find a working triton|No module named 'triton|Failed to find C compiler|InvalidCxxCompiler",
        "torch.compile needs Triton and a C compiler.",
        "remove compile (or dynamo_backend) from `musubi`, or install gcc",
    ),
    KnownFailure(
        "system-library-missing",
        r"ImportError: (?P<library>lib\S+?\.so\S*?): cannot open shared object file",
        "The system library {library} is missing (a bare container often lacks libGL, which OpenCV wants).",
        "apt-get install libgl1 libglib2.0-0",
    ),
    KnownFailure(
        "network-module-missing",
        r"No module named '(?P<module>(?:musubi_tuner\.)?networks[\w.]*)'",
        "musubi's network module {module} is not found: misspelt, or hidden by another package called networks.",
        "remove network_module under `musubi`, and PYTHONPATH from the environment",
    ),
    KnownFailure(
        "checkout-not-found",
        r"No module named '(?P<module>musubi_tuner)\b",
        "Python does not find musubi's own code ({module}).",
        "check --musubi, WAN22LORA_MUSUBI or the machine settings: they name the checkout's folder",
    ),
    KnownFailure(
        "package-missing",
        r"ModuleNotFoundError: No module named '(?P<module>[\w.]+)'",
        f"The package {{module}} is not in {_ENVIRONMENT}.",
        f"install {{module}} in {_ENVIRONMENT}",
    ),
    KnownFailure(
        "package-unfit",
        r"ImportError: cannot import name '(?P<what>\w+)' from '(?P<module>[\w.]+)'",
        f"The {{module}} in {_ENVIRONMENT} is another version than musubi wants: it has no {{what}}.",
        f"install musubi's pinned versions in {_ENVIRONMENT} again (pip install -e . in the checkout)",
    ),
    KnownFailure(
        "libuv",
        r"use_libuv was requested but PyTorch",
        "On Windows, a training over several GPUs cannot start.",
        "set CUDA_VISIBLE_DEVICES to one GPU",
    ),
    KnownFailure(
        "not-permitted",
        r"^\w+Error: .*(?:Permission denied|Read-only file system): '(?P<path>[^']+)'",
        "{path} may not be read or written.",
        "change its owner or rights, or put the run elsewhere with `folder`",
    ),
    KnownFailure(
        "worker-died",
        r"DataLoader worker \(pid\(?s?\)? .*\) (?:exited unexpectedly|is killed by signal: (?P<signal>.+?)\.)",
        "A data-loader process died {signal}.",
        "train.data_loader_workers: 0 shows the reason",
    ),
)
