"""What a training step of one expert takes at each `speed`, under limits of GPU memory.

    python benchmarks/expert_step.py --python PYTHON --musubi CHECKOUT --dit FILE --work FOLDER [--case clips] [ROW...]

PYTHON is that of musubi's environment, FILE the weights of a Wan 2.2 text-to-video expert (random ones of its size do:
values do not change the speed), FOLDER gets caches of noise, the compiled kernels and the trainings' events. A row is
`NAME:GIB:OPTIONS`, options of the trainer, and variables as KEY=VALUE, under a limit of GPU memory, loading included
(0: no limit); without rows the table below is run. Prints a line of JSON for each row: median seconds of a step once it
is warm, how many times as fast as the first row, the most GiB allocated and reserved, and how far the losses are from
those of the first row.

With --beside the rows load and compile at the same time, and each is timed alone, the processes of the others stopped:
quicker on a rented GPU that has memory for all of them. With --profile two more steps are told kernel by kernel.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

TRAINER = Path(__file__).resolve().parents[1] / "src" / "wan22lora" / "trainer"
GIB = 2**30
PROFILED = "profiled to here"
ON_GPU = ("kernel", "gpu_memcpy", "gpu_memset")
"""What the profiler calls that which runs there."""
TABLE = (
    "reference:0:--gradient_checkpointing --speed reference",
    "fast-22:22:--gradient_checkpointing --speed fast --activation_budget 0.28",
    "fast-44:44:--gradient_checkpointing --speed fast",
    "fast-76:76:--speed fast --weights_cast_once 1",
    "max-22:22:--gradient_checkpointing --speed max --activation_budget 0.22",
    "max-44:44:--gradient_checkpointing --speed max",
    "max-76:76:--speed max --weights_cast_once 1",
)
CASES = {
    "stills": [(960, 960, 1)] * 8 + [(832, 1104, 1)] * 5 + [(1104, 832, 1)] * 5,
    "clips": [(832, 480, 49)] * 12,
    "small": [(64, 64, 1)] * 5 + [(96, 64, 1)] * 3,
}
ARTICLE = """
--task t2v-A14B --sdpa --network_module networks.lora_wan --network_dim 16 --network_alpha 16
--optimizer_type adamw --optimizer_args weight_decay=0.1 --learning_rate 3e-4 --max_grad_norm 0
--lr_scheduler polynomial --lr_scheduler_power 8 --lr_scheduler_min_lr_ratio=5e-5 --seed 5
--timestep_sampling shift --discrete_flow_shift 1.0 --preserve_distribution_shape --min_timestep 0 --max_timestep 875
--max_train_steps 1800 --max_data_loader_n_workers 2 --output_name lora --step_id train-low --states_every_minutes 0
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True)
    parser.add_argument("--musubi", required=True)
    parser.add_argument("--dit", required=True)
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--case", choices=CASES, default="stills")
    parser.add_argument("--precision", default="--mixed_precision fp16 --fp8_base")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--warmup", type=int, default=8)
    parser.add_argument("--beside", action="store_true", help="load and compile all rows at the same time")
    parser.add_argument("--profile", action="store_true", help="tell the GPU kernels of two more steps, longest first")
    parser.add_argument("rows", nargs="*", default=list(TABLE))
    told = parser.parse_args()
    work = told.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([f"{told.musubi}/src", *filter(None, [os.environ.get("PYTHONPATH")])]),
        "TORCHINDUCTOR_CACHE_DIR": str(work / "kernels"),
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
    }
    caches = work / told.case
    if not caches.exists():
        subprocess.run([told.python, __file__, "caches", told.case, str(caches)], env=environment, check=True)
    rows = [_Row(row, told, work, caches, environment) for row in told.rows]
    first: dict[str, Any] | None = None
    try:
        if told.beside:
            for row in rows:
                row.start()
            cold = rows
            while cold := [row for row in cold if not row.is_warm()]:
                time.sleep(0.2)
        for row in rows:
            result = row.measure()
            first = first or result
            if result.get("seconds") and first.get("seconds"):
                result["times as fast"] = round(first["seconds"] / result["seconds"], 3)
                pairs = list(zip(first["losses"], result["losses"], strict=False))
                result["furthest loss"] = max(abs(one - other) for one, other in pairs)
                result["furthest loss, relative"] = max(abs(one - other) / one for one, other in pairs)
            with (work / "results.jsonl").open("a", encoding="utf-8") as results:
                results.write(json.dumps(result) + "\n")
            print(json.dumps({**result, "losses": result["losses"][:3]}), flush=True)
    finally:
        for row in rows:
            row.end()
    return 0


class _Row:
    """The training of one row. What is told of it is what the trainer's own events tell."""

    def __init__(
        self, row: str, told: argparse.Namespace, work: Path, caches: Path, environment: dict[str, str]
    ) -> None:
        self._name, self._limit, self._options = row.split(":", 2)
        self._steps, self._warm, self._profile = told.steps, told.warmup, told.profile
        self._place = work / f"{told.case}-{self._name}-{time.strftime('%H%M%S')}"
        self._events = self._place / "events.jsonl"
        words = self._options.split()
        variables = dict(word.split("=", 1) for word in words if not word.startswith("-") and "=" in word)
        argv = [*ARTICLE.split(), *told.precision.split(), "--dit", told.dit, "--output_dir", str(self._place)]
        argv += ["--dataset_config", str(caches / "dataset.toml"), "--ledger", str(self._events)]
        argv += ["--states", str(self._place / "states")]
        argv += [word for word in words if word.split("=", 1)[0] not in variables]
        after = str(told.steps if told.profile else 0)
        self._argv = [told.python, __file__, "train", self._limit, after, *argv]
        self._environment = environment | variables
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0.0
        self._resumed_after = 0
        """The step before the one in which the process was stopped, if it was."""

    def start(self) -> None:
        self._place.mkdir()
        self._began = time.monotonic()
        with (self._place / "log").open("w") as log:
            self._process = subprocess.Popen(
                self._argv, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    def is_warm(self) -> bool:
        """Whether the steps of warm-up are done, or it has failed. Once warm it stands still."""
        if not self._resumed_after and len(self._done()) >= self._warm:
            self._signal(signal.SIGSTOP)
            self._resumed_after = len(self._done())
        return self._resumed_after > 0 or not self._runs()

    def measure(self) -> dict[str, Any]:
        """Runs it to its last step and ends it."""
        if self._process is None:
            self.start()
        self._signal(signal.SIGCONT)
        self._wait_for(self._steps)
        if self._profile:
            self._wait_for_profile()
        took = time.monotonic() - self._began
        self.end()
        done = self._done()[: self._steps]
        result: dict[str, Any] = {"name": self._name, "limit": float(self._limit), "options": self._options}
        result |= {"steps": len(done), "took": round(took, 1), "losses": [step["loss"] for step in done]}
        if len(done) < self._steps:
            lines = (self._place / "log").read_text(encoding="utf-8", errors="replace").splitlines()
            return result | {"failed": lines[-1] if lines else "", "log": str(self._place / "log")}
        # The first step after a halt has the halt in it.
        seconds = [step["seconds"] for step in done[max(self._warm, self._resumed_after + 1) :]]
        return result | {
            "seconds": round(statistics.median(seconds), 4),
            "from": round(min(seconds), 4),
            "to": round(max(seconds), 4),
            "first steps": [round(step["seconds"], 1) if step["seconds"] else None for step in done[: self._warm]],
            "allocated": round(max(step.get("gpu_peak", 0) for step in done) / GIB, 2),
            "reserved": round(max(step.get("gpu_reserved", 0) for step in done) / GIB, 2),
        }

    def end(self) -> None:
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def _wait_for(self, steps: int) -> None:
        while self._runs() and len(self._done()) < steps:
            time.sleep(0.2)

    def _wait_for_profile(self) -> None:
        while self._runs() and PROFILED not in (self._place / "log").read_text(encoding="utf-8", errors="replace"):
            time.sleep(0.2)

    def _runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _signal(self, number: int) -> None:
        if self._runs():
            assert self._process is not None
            os.killpg(self._process.pid, number)

    def _done(self) -> list[dict[str, Any]]:
        return _steps(self._events)


def _steps(events: Path) -> list[dict[str, Any]]:
    if not events.exists():
        return []
    told = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    return [event for event in told if event["event"] == "train-step"]


def _write_caches(case: str, folder: Path) -> None:
    """In musubi's Python: caches of noise, by musubi's own writers."""
    import torch
    from musubi_tuner.dataset.cache_io import save_latent_cache_wan, save_text_encoder_output_cache_wan
    from musubi_tuner.dataset.image_video_dataset import ItemInfo

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    for number, (width, height, frames) in enumerate(CASES[case]):
        item = ItemInfo(f"item{number:02}", "a caption", (width, height), (width, height), frame_count=frames)
        window = f"_00000-{frames:03}" if frames > 1 else ""
        item.latent_cache_path = str(folder / f"item{number:02}{window}_{width:04}x{height:04}_wan.safetensors")
        item.text_encoder_output_cache_path = str(folder / f"item{number:02}_wan_te.safetensors")
        latents = torch.randn(16, (frames - 1) // 4 + 1, height // 8, width // 8)
        save_latent_cache_wan(item, latents.bfloat16(), None, None, None)
        save_text_encoder_output_cache_wan(item, torch.randn(60 + 5 * number, 4096).bfloat16())
    width, height, frames = CASES[case][0]
    kind = "video" if frames > 1 else "image"
    lines = [f"[general]\nresolution = [{width}, {height}]\nenable_bucket = true", "[[datasets]]"]
    lines += [f'{kind}_directory = "{folder}"', f'cache_directory = "{folder}"', 'caption_extension = ".txt"']
    lines += [f'target_frames = [{frames}]\nframe_extraction = "head"'] if frames > 1 else []
    (folder / "dataset.toml").write_text("\n".join(lines), encoding="utf-8")


def _run_trainer(limit: float, profile_from: int, argv: list[str]) -> None:
    """In musubi's Python: the trainer, under a limit of `limit` GiB of GPU memory."""
    import importlib
    import runpy

    import torch

    if limit:
        torch.cuda.set_per_process_memory_fraction(limit * GIB / torch.cuda.get_device_properties(0).total_memory)
    runpy.run_path(str(TRAINER / "__main__.py"))["register"]()
    if profile_from:
        _profile(importlib.import_module("wan22lora_trainer.events").Events, profile_from)
    sys.exit(importlib.import_module("wan22lora_trainer.program").main(argv))


def _waits(trace: list[dict[str, Any]]) -> str:
    """How long the GPU did nothing between what it did, and how often how long."""
    ran = sorted((each["ts"], each["ts"] + each["dur"]) for each in trace if str(each.get("cat")) in ON_GPU)
    waits, busy, until = [], 0.0, ran[0][0]
    for begin, end in ran:
        waits.append(max(0.0, begin - until))
        busy += max(0.0, end - max(begin, until))
        until = max(until, end)
    told = [f"{len(ran)} kernels and copies, {busy / 1e3:.1f} ms of {(until - ran[0][0]) / 1e3:.1f} ms; waits:"]
    for least, most in pairwise((0, 2, 5, 20, 100, 1_000, 1e9)):
        those = [wait for wait in waits if least < wait <= most]
        told.append(f"  {least}-{most:.0f} us: {len(those)} times, {sum(those) / 1e3:.1f} ms")
    return "\n".join(told)


def _profile(events: Any, first: int) -> None:
    """Has two steps profiled, the first of them after step `first`."""
    from torch.profiler import ProfilerActivity, profile

    profiler, emit = profile(activities=[ProfilerActivity.CUDA]), events.emit

    def emit_and_profile(self: Any, event: str, **facts: Any) -> None:
        emit(self, event, **facts)
        if event == "train-step" and facts["step"] == first:
            profiler.start()
        elif event == "train-step" and facts["step"] == first + 2:
            profiler.stop()
            print(profiler.key_averages().table(sort_by="cuda_time_total", row_limit=40, max_name_column_width=90))
            with tempfile.NamedTemporaryFile(suffix=".json") as trace:
                profiler.export_chrome_trace(trace.name)
                print(_waits(json.loads(Path(trace.name).read_text(encoding="utf-8"))["traceEvents"]))
            print(PROFILED, flush=True)

    events.emit = emit_and_profile


if __name__ == "__main__":
    if sys.argv[1:2] == ["caches"]:
        _write_caches(sys.argv[2], Path(sys.argv[3]))
    elif sys.argv[1:2] == ["train"]:
        _run_trainer(float(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
    else:
        sys.exit(main())
