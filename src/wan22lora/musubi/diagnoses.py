"""Why a program of musubi failed, told from its exit code and its output."""

from __future__ import annotations

import math
import re
import signal
from collections.abc import Sequence

from wan22lora.musubi import failures_of_data as data
from wan22lora.musubi import failures_of_machine as machine
from wan22lora.musubi import log_events as events
from wan22lora.musubi.failure import Diagnosis, Phase, first_recognised
from wan22lora.musubi.failures_of_settings import SETTINGS
from wan22lora.musubi.failures_of_weights import WEIGHTS
from wan22lora.musubi.log_lines import parse

__all__ = ["Diagnosis", "diagnose", "error_line", "ran_out_of_gpu_memory", "without_launcher"]

KNOWN_FAILURES = (
    *machine.DISK,
    *WEIGHTS,  # before MEMORY: a wrong file may show as a MemoryError
    *data.CACHES,
    *data.DATASET,
    *SETTINGS,
    *machine.MEMORY,
    *machine.GPU,
    *machine.PACKAGES,
)
_LAST_LINES = 2000
_ERROR = re.compile(r"(?:[A-Za-z_][\w.]*\.)?\w*(?:Error|Exception|Invalid|Interrupt)\b.*")
_ACCELERATE_SIGNAL = re.compile(r"died with <Signals\.(SIG\w+): \d+>")
_LAUNCHERS_ERROR = "subprocess.CalledProcessError: "
_TRACEBACK = "Traceback (most recent call last):"
_EXTENSION_STEP = re.compile(r"step \d+/\d+, loss ")
_EXTENSION_BEGINS = re.compile(r"training (?:begins|continues after step)\b")
"""The trainer extension's own lines (trainer/loop.py, trainer/reporting.py)."""
_WINDOWS_ACCESS_VIOLATION = (3221225477, -1073741819)
_STOPS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


def diagnose(program: str, exit_code: int, lines: Sequence[str]) -> Diagnosis | None:
    """What went wrong with `program` (its name without .py); None when nothing is known to fit.

    `exit_code` is a process's (negative for a signal) or a shell's (128 and above for one). With 0 only failures are
    looked for that musubi passes over: nothing cached, NaN in a cache or as loss, timesteps out of reach.
    """
    if exit_code == 0:
        return _nothing_cached(lines) or _silent_warning(lines) or _lost_loss(lines)
    # without the source code in tracebacks, which quotes the texts of errors that did not happen
    output = "\n".join(line for line in lines[-_LAST_LINES:] if not line.startswith("    "))
    return (
        first_recognised(KNOWN_FAILURES, program, _phase(lines), output)
        or _lost_loss(lines)
        or _ended_from_outside(exit_code, output)
    )


def error_line(lines: Sequence[str]) -> str | None:
    """The exception that ended a program: the last there is, but not accelerate's about the program it started."""
    errors = (line for line in reversed(lines) if _ERROR.fullmatch(line))
    return next((line for line in errors if "CalledProcessError" not in line), None)


def ran_out_of_gpu_memory(program: str, exit_code: int, lines: Sequence[str]) -> Phase | None:
    """How far a program had come when the GPU's memory ran out; None where something else ended it."""
    diagnosis = diagnose(program, exit_code, lines) if exit_code else None
    return _phase(lines) if diagnosis is not None and diagnosis.name.startswith("gpu-memory-") else None


def without_launcher(lines: Sequence[str]) -> tuple[str, ...]:
    """Without what accelerate's launcher prints behind the end of the program that it started."""
    for index in range(len(lines) - 1, -1, -1):
        if lines[index].startswith(_LAUNCHERS_ERROR):
            starts = [number for number in range(index) if lines[number] == _TRACEBACK]
            return tuple(lines[: starts[-1]]) if starts else tuple(lines)
    return tuple(lines)


def _phase(lines: Sequence[str]) -> Phase:
    for line in reversed(lines):
        event = parse(line)
        if _EXTENSION_STEP.match(line) or (isinstance(event, events.TrainStep) and event.step > 0):
            return "training"
        if _EXTENSION_BEGINS.match(line) or isinstance(event, events.TrainingStarted):
            return "first step"
    return "loading"


def _lost_loss(lines: Sequence[str]) -> Diagnosis | None:
    steps = (event for line in reversed(lines) if isinstance(event := parse(line), events.TrainStep))
    last = next((step for step in steps if step.loss is not None), None)
    if last is None or last.loss is None or math.isfinite(last.loss):
        return None
    return Diagnosis(
        "nan-loss",
        f"The loss was no number any more at step {last.step}; what the LoRA learned is lost from there on, and musubi "
        "goes on regardless.",
        "a lower train.learning_rate, train.max_grad_norm: 1.0, bf16 weights with train.mixed_precision: bf16; "
        "then wan22lora train run.yaml --force",
    )


def _nothing_cached(lines: Sequence[str]) -> Diagnosis | None:
    dataset: int | None = None
    batches = 0
    for event in (*map(parse, lines), events.EncodingDataset(-1)):
        if isinstance(event, events.CacheProgress):
            batches = event.done
        elif isinstance(event, events.EncodingDataset):
            if dataset is not None and batches == 0:
                return Diagnosis(
                    "nothing-cached",
                    f"Dataset {dataset} of dataset.toml gave musubi nothing to encode.",
                    "check the folder's path, that every picture has a caption ending in data.caption_extension, and "
                    "that the clips have data.frames frames at 16 per second",
                )
            dataset, batches = event.index, 0
    return None


def _silent_warning(lines: Sequence[str]) -> Diagnosis | None:
    for line in lines:
        event = parse(line)
        if isinstance(event, events.NanReplaced):
            return Diagnosis(
                "nan-in-cache",
                f"The model that encodes gave no numbers for {event.item}, and musubi cached zeros instead.",
                "a bf16 VAE and no vae_dtype under musubi.cache-latents; then wan22lora cache run.yaml --force",
            )
        if isinstance(event, events.WarningLine) and event.text.startswith("Could not sample"):
            return Diagnosis(
                "timesteps-out-of-reach",
                "No timestep fell into the range in a thousand draws, so musubi trained on timesteps outside of it.",
                "train.preserve_distribution_shape: false, a larger train.timestep_shift, or a wider timestep_range",
            )
    return None


def _ended_from_outside(exit_code: int, output: str) -> Diagnosis | None:
    name = _signal_name(exit_code)
    if name is None:
        told = _ACCELERATE_SIGNAL.search(output)
        name = told[1] if told else None
    if name == "SIGKILL":
        return Diagnosis(
            "ram",
            f"The system killed the program (SIGKILL), most likely because RAM ran out: {machine.RAM_TAKEN}.",
            machine.RAM_FIX,
        )
    if name in _STOPS:
        return Diagnosis(
            "stopped",
            f"The program was told to stop ({name}).",
            "wan22lora train run.yaml starts the unfinished step again",
        )
    if name is not None:
        return Diagnosis(
            "crashed",
            f"The program crashed in compiled code ({name}): a package that does not fit this torch or GPU, or a "
            "faulty machine.",
            "train.attention: sdpa, then start again; if it comes back, another driver or machine",
        )
    return None


def _signal_name(exit_code: int) -> str | None:
    if exit_code in _WINDOWS_ACCESS_VIOLATION:  # seen when RAM runs out while a model loads
        return "SIGKILL"
    number = -exit_code if exit_code < 0 else exit_code - 128
    try:
        return signal.Signals(number).name if number > 0 else None
    except ValueError:
        return f"signal {number}" if exit_code < 0 else None
