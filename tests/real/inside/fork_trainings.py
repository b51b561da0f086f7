"""Run by musubi-tuner's Python: trains in forks of itself, as importing torch and musubi takes longer than a training.

A request is a line of JSON on standard input: argv, place (the folder to be in), log, and what may be done to the
training: moments at which signals come, and where to write how often its lines ran. The answer is its exit code.
"""

import atexit
import ctypes
import gc
import glob
import importlib
import json
import os
import runpy
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "src"))

import accelerate
import safetensors.torch  # noqa: F401
import torch
import torch.serialization
import torch.utils.data
from musubi_tuner import wan_train_network
from musubi_tuner.training import trainer_base
from small_training import write_caches, write_caption

TRAINER = Path(__file__).parents[3] / "src" / "wan22lora" / "trainer"
MODULES = "wan22lora_trainer"
SLOW_SECONDS = 120


def make_job(place, first_frames=False):
    """Two datasets, the first in batches of two with two shapes; each caption has a class caption too."""
    for number, stems in enumerate(("abcdefg", "xyz")):
        shapes = [(64, 64), (96, 64)] if number == 0 else [(64, 96)]
        items = [(stem, *shapes[n % len(shapes)], 10 * number + n) for n, stem in enumerate(stems)]
        folder = place / "cache" / str(number)
        write_caches(folder, items, first_frames)
        for stem, _, _, own in items:
            write_caption(folder / "class-0" / f"{stem}_wan_te.safetensors", stem, 100 + own)
    (place / "pictures").mkdir()
    lines = ['[general]\nresolution = [64, 64]\nenable_bucket = true\ncaption_extension = ".txt"']
    for number, size in enumerate((2, 1)):
        lines.append(
            f'[[datasets]]\nbatch_size = {size}\nimage_directory = "pictures"\ncache_directory = "cache/{number}"'
        )
    (place / "dataset.toml").write_text("\n".join(lines), encoding="utf-8")
    (place / "held-out.txt").write_text("0/a\n1/z\n", encoding="utf-8")


class Watch:
    """Counts the lines that run in the trainer and in what writes and samples for it, and sends signals at some."""

    def __init__(self, moments):
        self.moments = moments
        self.lines = Counter()
        self._seen = [0] * len(moments)
        self._files = {str(path): path.stem for path in TRAINER.glob("*.py")}
        self._files[torch.serialization.__file__] = "serialization"
        self._files[wan_train_network.__file__] = "wan_train_network"
        self._files[trainer_base.__file__] = "trainer_base"

    def __call__(self, frame, event, argument):
        code = frame.f_code
        return self._line if code.co_filename in self._files else None

    def _line(self, frame, event, argument):
        if event == "line":
            place = f"{self._files[frame.f_code.co_filename]}.{frame.f_code.co_name}"
            self.lines[place] += 1
            for number, moment in enumerate(self.moments):
                if place.startswith(tuple(moment["places"])):
                    self._seen[number] += 1
                    if self._seen[number] == moment["line"]:
                        if moment["group"]:
                            os.killpg(0, moment["signal"])
                        else:
                            os.kill(os.getpid(), moment["signal"])
        return self._line


def mount(disk):
    """A file system of its own for this process and its children, with a file that takes room until a pause."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    new_user_and_mounts = 0x10000000 | 0x00020000
    if libc.unshare(new_user_and_mounts) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        Path(f"/proc/self/{name}").write_text(text, encoding="ascii")
    at = disk["at"].encode()
    if libc.mount(b"none", at, b"tmpfs", 0, f"size={disk['size']}".encode()) != 0:
        raise OSError(ctypes.get_errno(), "mount")
    filler, ledger = Path(disk["at"]) / "filler", Path(disk["ledger"])
    filler.write_bytes(bytes(disk["filler"]))
    if disk["makes_room"] and os.fork() == 0:
        until = time.monotonic() + SLOW_SECONDS
        while not (ledger.exists() and '"paused"' in ledger.read_text()) and time.monotonic() < until:
            time.sleep(0.02)
        filler.unlink()
        os._exit(0)


def let_the_disk_fill_unseen(times):
    """The disk seems to have room for the next `times` looks."""
    real, left = shutil.disk_usage, [times]

    def usage(path):
        found = real(path)
        if left[0]:
            left[0] -= 1
            return found._replace(free=2**50)
        return found

    shutil.disk_usage = usage


def cast_prompts():
    """musubi leaves it to autocast that prompts are bfloat16 and the small model is float32; a CPU's does not do it."""
    process = wan_train_network.WanNetworkTrainer.process_sample_prompts

    def processed(*given):
        parameters = process(*given)
        for each in parameters:
            each |= {key: value.float() for key, value in each.items() if torch.is_tensor(value)}
        return parameters

    wan_train_network.WanNetworkTrainer.process_sample_prompts = processed


def spoil_gradients(after):
    """After these backward passes, counted from 1, a gradient is no number."""
    backward, calls = accelerate.Accelerator.backward, [0]

    def spoiling(self, *given):
        backward(self, *given)
        calls[0] += 1
        if calls[0] in after:
            parameters = (parameter for model in self._models for parameter in model.parameters())
            next(parameter.grad for parameter in parameters if parameter.grad is not None)[0] = float("nan")

    accelerate.Accelerator.backward = spoiling


def train(request):
    os.setsid()
    os.chdir(request["place"])
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    if request["program"] == "plain":
        found = glob.glob
        glob.glob = lambda *given, **named: sorted(found(*given, **named))
        sys.argv = [wan_train_network.__file__, *request["argv"]]
        wan_train_network.main()
        return 0
    disk = request["disk"]
    if disk:
        mount(disk)
        let_the_disk_fill_unseen(disk["unseen"])
    spoil_gradients(request["spoilt_gradients"])
    watch = Watch(request["moments"])
    if request["moments"] or request["lines"]:
        sys.settrace(watch)
    try:
        return sys.modules[f"{MODULES}.program"].main(request["argv"])
    finally:
        sys.settrace(None)
        if disk:
            (Path(disk["at"]) / "filler").unlink(missing_ok=True)
            shutil.copytree(disk["at"], disk["left"])
        if request["lines"]:
            Path(request["lines"]).write_text(json.dumps(watch.lines), encoding="utf-8")


def wait(child):
    """The exit code as subprocess gives it, or None for a training that did not end."""
    until = time.monotonic() + SLOW_SECONDS
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        time.sleep(0.005)


def main():
    torch.set_num_threads(1)
    runpy.run_path(str(TRAINER / "__main__.py"))["register"]()
    for name in ("program", "expert"):
        importlib.import_module(f"{MODULES}.{name}")
    cast_prompts()
    make_job(Path(sys.argv[1]))
    make_job(Path(sys.argv[1]).with_name("image-to-video"), first_frames=True)
    answers = os.fdopen(os.dup(1), "w")
    gc.freeze()  # or every fork copies all pages that hold Python objects
    print("ready", file=answers, flush=True)
    while line := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            code = train(json.loads(line))
            atexit._run_exitfuncs()
            sys.stdout.flush()
            os._exit(code)  # tearing torch down would take longer than the training
        print(json.dumps(wait(child)), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
