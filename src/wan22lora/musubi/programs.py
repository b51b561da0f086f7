"""How musubi's programs are started: from its checkout, with its own Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import wan22lora
from wan22lora.musubi.options import Option, argv_of

CACHE_LATENTS = "wan_cache_latents"
CACHE_TEXT = "wan_cache_text_encoder_outputs"
TRAIN = "wan_train_network"
TRAINER = Path(wan22lora.__file__).parent / "trainer"
"""The trainer extension, a folder that musubi's Python runs as a program."""

ACCELERATE_CONFIG = """\
# Written for this run, so that a machine-wide accelerate configuration (DeepSpeed, several GPUs) cannot change it.
compute_environment: LOCAL_MACHINE
distributed_type: 'NO'
downcast_bf16: 'no'
machine_rank: 0
main_training_function: main
mixed_precision: 'no'
num_machines: 1
num_processes: 1
use_cpu: false
"""


@dataclass(frozen=True)
class Programs:
    """The programs of one checkout."""

    checkout: Path
    python: Path

    def script(self, program: str) -> Path:
        """Started by path, so that `networks` and musubi's other packages are found beside it before anything else."""
        return self.checkout / "src" / "musubi_tuner" / f"{program}.py"

    def cache(self, program: str, options: Iterable[Option]) -> tuple[str, ...]:
        return (str(self.python), str(self.script(program)), *argv_of(options))

    def train(
        self, options: Iterable[Option], *, mixed_precision: str, accelerate_config: Path, cpu_threads: int = 1
    ) -> tuple[str, ...]:
        """The training under accelerate, as the articles start it.

        The articles give one CPU thread to a process, which is enough until blocks wait in RAM: then one thread makes
        the copies, and a step with 24 blocks takes 6.3 s instead of 1.6 s (docs/benchmarks.md).

        Without `--num_processes 1` a second visible GPU would make the run data parallel (accelerate 1.6.0 launch.py:
        1104-1139), without `--config_file` a machine-wide configuration would decide (launch.py:1016-1041).
        """
        return (
            str(self.python),
            *("-m", "accelerate.commands.launch"),
            *("--config_file", str(accelerate_config)),
            *("--num_cpu_threads_per_process", str(cpu_threads)),
            *("--num_processes", "1"),
            *("--num_machines", "1"),
            *("--dynamo_backend", "no"),
            *("--mixed_precision", mixed_precision),
            str(self.script(TRAIN)),
            *argv_of(options),
        )

    def extended_train(self, options: Iterable[Option]) -> tuple[str, ...]:
        """The training under the trainer extension, without accelerate's launcher.

        It is a single process, for which the launcher only sets variables (`without_launcher`); in return exit codes
        and signals are the trainer's own.
        """
        return (str(self.python), str(TRAINER), *argv_of(options))

    def environment(self, gpu: str, hub: Path | None) -> dict[str, str]:
        """Variables that every program gets; `hub` is a Hugging Face cache that holds the tokenizer of T5.

        Without one musubi fetches the tokenizer in the middle of caching (wan/modules/t5.py:501-506).

        Unbuffered UTF-8 output (musubi prints Japanese; a C locale would crash it), the checkout's own code before
        an installed one, one visible GPU, and torch's growing memory segments, which keep a nearly full card usable.
        """
        return {
            "CUDA_VISIBLE_DEVICES": gpu,
            "PYTHONIOENCODING": "utf-8",
            "PYTHONPATH": str(self.checkout / "src"),
            "PYTHONUNBUFFERED": "1",
            "PYTHONUTF8": "1",
            "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
            **({"HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1"} if hub is not None else {}),
        }


def without_launcher(*, mixed_precision: str, cpu_threads: int) -> dict[str, str]:
    """The variables that accelerate's launcher would set (accelerate 1.6.0 utils/launch.py:130-189).

    Without them what somebody exported for another program would change the training.
    """
    return {
        "ACCELERATE_DYNAMO_BACKEND": "NO",
        "ACCELERATE_MIXED_PRECISION": mixed_precision,
        "ACCELERATE_USE_CPU": "False",
        "OMP_NUM_THREADS": str(cpu_threads),
    }


def kept_kernels(folder: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Where torch and Triton keep what they compile; a place that a person named in `variables` stays.

    Their own is in /tmp, which is often gone after a restart, and then each expert compiles for itself what both need.
    """
    places = {"TORCHINDUCTOR_CACHE_DIR": folder / "inductor", "TRITON_CACHE_DIR": folder / "triton"}
    return {name: str(place) for name, place in places.items() if not variables.get(name)}


def is_program(token: str) -> bool:
    """Whether a word of a command names what runs: a script of musubi's, or the trainer extension."""
    if token == str(TRAINER):
        return True
    return token.endswith(".py") and Path(token).stem in (CACHE_LATENTS, CACHE_TEXT, TRAIN)
