"""musubi's output: bytes → lines → events.

Its progress bars are one line rewritten after "\\r", without an end of line until the bar closes, and log records are
written right behind them: "…avr_loss=0.0796]INFO:…". A bar therefore ends a line of its own at its closing bracket,
which also hands it on at once instead of with the next step.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from pathlib import Path

from wan22lora.musubi import log_events as events

MAX_LINE = 262_144
"""Characters after which a line is broken; torch lists missing keys in lines of some 50,000."""

# tqdm 4.67.1: "steps:  33%|███▎      | 12/36 [00:34<01:10,  2.94s/it, avr_loss=0.123]" and, without a total,
# "12it [00:34,  2.84s/it]". Blanks behind a bar clear a longer one.
_BAR = re.compile(
    r"(?:(?P<label>[^\r\n|]*?):)? *\d+%\|[^\r\n|]*\| *(?P<done>\d+)/(?P<total>\d+) \[[^\]\r\n]*\]"
    r"|(?P<count>\d+)it \[[^\]\r\n]*\]"
)
_LONGEST_BAR = 1000
_BAR_END = re.compile(r"[\]\r\n]")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class LineSplitter:
    """Bytes in as they come, whole lines out. Blank lines and terminal control sequences are dropped."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._looked_at = 0

    def feed(self, data: bytes) -> list[str]:
        """The lines that these bytes complete."""
        self._rest += self._decoder.decode(data)
        return self._lines()

    def close(self) -> list[str]:
        """What is left when the stream has ended."""
        self._rest += self._decoder.decode(b"", final=True)
        lines = [*self._lines(), *_tidy(self._rest)]
        self._rest, self._looked_at = "", 0
        return lines

    def _lines(self) -> list[str]:
        lines: list[str] = []
        while True:
            end = _BAR_END.search(self._rest, self._looked_at, MAX_LINE)
            if end is None:
                if len(self._rest) < MAX_LINE:
                    self._looked_at = len(self._rest)
                    return lines
                cut = MAX_LINE
            elif end.group() == "]" and not (end.end() < _LONGEST_BAR and _BAR.fullmatch(self._rest, 0, end.end())):
                self._looked_at = end.end()
                continue
            else:
                cut = end.end()
            lines += _tidy(self._rest[:cut])
            self._rest, self._looked_at = self._rest[cut:], 0


def _tidy(line: str) -> list[str]:
    line = _CONTROL.sub("", line).rstrip()
    return [line] if line else []


_RECORD = re.compile(r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL):(?P<source>[\w.]+):(?P<text>.*)")
_PYTHON_WARNING = re.compile(r".+:\d+: (?P<source>\w*Warning): (?P<text>.*)")
_LOSS = re.compile(r"avr_loss=([^\],\s]+)")
_Found = re.Match[str]


def _count(make: Callable[[int], events.Event]) -> Callable[[_Found], events.Event]:
    return lambda found: make(int(found[1]))


def _path(make: Callable[[Path], events.Event]) -> Callable[[_Found], events.Event]:
    return lambda found: make(Path(found[1]))


def _bucket(found: _Found) -> events.Event:
    width, height, frames, count = found.groups()
    return events.BucketInfo(int(width), int(height), int(frames) if frames else None, int(count))


# The words before " / " of lines that musubi prints in English and Japanese; the same at both pins.
_EVENTS: tuple[tuple[str, Callable[[_Found], events.Event]], ...] = (
    # wan_cache_latents, wan_cache_text_encoder_outputs
    (r"Encoding dataset \[(\d+)\]", _count(events.EncodingDataset)),
    (r"(?:found|loaded) (\d+) (?:images|videos)", _count(events.PicturesFound)),
    (r"Removed old cache file: (.+)", _path(events.CacheFileRemoved)),
    (r"(?:.+) tensor has NaN: (.+), replace NaN with 0", lambda found: events.NanReplaced(found[1])),
    # wan_train_network, in this order
    (r"Detected DiT dtype: torch\.(\w+)", lambda found: events.DtypeDetected(found[1])),
    (r"Text encoder output cache file not found: (.+)", _path(events.TextCacheMissing)),
    (r"bucket: \((\d+), (\d+)(?:, (\d+))?.*\), count: (\d+)", _bucket),
    (r"total batches: (\d+)", _count(events.TotalBatches)),
    (r"accelerator device: (\S+)", lambda found: events.Device(found[1])),
    (r"(?:Loading (?:DiT|VAE) model from|[Ll]oading T5:) (.+?)(?:, device=.*)?", _path(events.LoadingModel)),
    (r"create LoRA for U-Net/DiT: (\d+) modules\.", _count(events.ModulesCreated)),
    (r"resume training from local state: (.+)", _path(events.ResumedFrom)),
    (r"running training / .*", lambda _: events.TrainingStarted()),
    (r"num train items / .*: (\d+)", _count(events.TrainItems)),
    (r"num batches per epoch / .*: (\d+)", _count(events.BatchesPerEpoch)),
    (r"num epochs / .*: (\d+)", _count(events.Epochs)),
    (r"total optimization steps / .*: (\d+)", _count(events.TotalSteps)),
    (r"epoch (\d+)/(\d+)", lambda found: events.EpochStarted(int(found[1]), int(found[2]))),
    (r"saving checkpoint: (.+)", _path(events.CheckpointSaved)),
    (r"removing old checkpoint: (.+)", _path(events.CheckpointRemoved)),
    (r"saving state at epoch (\d+)", lambda found: events.StateSaved(epoch=int(found[1]))),
    (r"saving state at step (\d+)", lambda found: events.StateSaved(step=int(found[1]))),
    (r"saving last state\.", lambda _: events.StateSaved()),
    (r"removing old state: (.+)", _path(events.StateRemoved)),
    (r"generating sample images at step / .*: (\d+)", _count(events.SamplingStarted)),
    (r"model saved\.", lambda _: events.ModelSaved()),
)
_PATTERNS = tuple((re.compile(pattern), make) for pattern, make in _EVENTS)


def parse(line: str) -> events.Event | None:
    """What a line tells; None for lines that tell nothing of use."""
    bar = _BAR.fullmatch(line)
    if bar is not None:
        return _progress(bar)
    record = _RECORD.fullmatch(line)
    text = (record["text"] if record else line).strip()
    for pattern, make in _PATTERNS:
        found = pattern.fullmatch(text)
        if found is not None:
            return make(found)
    if record is not None and record["level"] in ("ERROR", "CRITICAL"):
        return events.ErrorLine(record["source"], text)
    warning = record if record is not None and record["level"] == "WARNING" else _PYTHON_WARNING.fullmatch(line)
    return events.WarningLine(warning["source"], warning["text"].strip()) if warning else None


def _progress(bar: _Found) -> events.Event:
    if bar["count"]:
        return events.CacheProgress(int(bar["count"]))
    done, total = int(bar["done"]), int(bar["total"])
    if bar["label"] != "steps":
        return events.Progress(bar["label"] or "", done, total)
    loss = _LOSS.search(bar.group())
    return events.TrainStep(done, total, float(loss[1]) if loss else None)
