"""The live view on a terminal: the steps, and what those that run are doing. No line of it ever wraps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from wan22lora.dataset.problems import counted
from wan22lora.run import wording
from wan22lora.run.display import QUIET_SECONDS, Watched
from wan22lora.run.ledger import Event
from wan22lora.run.state import RunState, StepState

_REFRESH_SECONDS = 0.25
_WORDS = {
    "waiting": ("waiting", "dim"),
    "skipped": ("fresh", "green"),
    "running": ("running", "bold cyan"),
    "done": ("done", "green"),
    "failed": ("failed", "bold red"),
    "outputs-wrong": ("failed", "bold red"),
    "interrupted": ("stopped", "yellow"),
    "lost": ("lost", "yellow"),
    "by-hand": ("by hand", "yellow"),
}


_TOLD_STYLES = {"checkpoint": "green", "warning": "yellow", "paused": "yellow"}


class LiveDisplay:
    """Redraws from the loop that watches the process, at most four times a second; no thread of its own."""

    def __init__(
        self,
        folder: Path,
        stream: TextIO,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        console: Console | None = None,
    ) -> None:
        self._folder = folder
        self._now = now
        self._watched = Watched(clock)
        self._console = console or Console(file=stream, highlight=False)
        self._live: Live | None = None
        self._stopping: set[str] = set()
        self._drawn_at = clock()

    def show(self, event: Event) -> None:
        self._watched.show(event)
        kind = event["event"]
        if kind == "run-started":
            self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
            self._live.start()
        elif kind == "stopping":
            self._stopping.add(str(event.get("id")))
            several = f"{event.get('id')}: " if len(self._watched.running) > 1 else ""
            self._console.print(Text(f"{several}{event['text']}", style="yellow"))
        else:
            text = wording.told(event)
            if text is not None:
                self._console.print(Text(f"{event.get('id')}: {text}", style=_TOLD_STYLES.get(kind, "")))
        if kind != "train-step":
            self._draw()

    def heard(self, step_id: str, line: str) -> None:
        self._watched.heard(step_id, line)

    def tick(self) -> None:
        if self._watched.clock() - self._drawn_at >= _REFRESH_SECONDS:
            self._draw()

    def close(self) -> None:
        if self._live is not None:
            self._draw()
            self._live.stop()
            self._live = None

    def frame(self) -> RenderableType:
        """The view at this moment."""
        state, width = self._watched.state, self._console.width
        lines: list[RenderableType] = [self._title(state)]
        lines += [_step_line(step, self._now(), stopping=step.id in self._stopping) for step in state.steps.values()]
        running = self._watched.running
        for step in running:
            lines += [Text(), *self._running(step, width, named=len(running) > 1)]
        if state.outcome == "done":
            lines.append(_line(_ended(state), "green"))
        return Group(*lines)

    def _draw(self) -> None:
        if self._live is not None:
            self._drawn_at = self._watched.clock()
            self._live.update(self.frame(), refresh=True)

    def _title(self, state: RunState) -> Text:
        if state.rehearsal:
            return _line(f" {wording.REHEARSAL} ", "black on yellow")
        return _line(state.name, "bold")

    def _running(self, step: StepState, width: int, *, named: bool) -> Iterator[RenderableType]:
        if step.loaded and step.total:
            yield _bar(step, named=named)
            yield _line(wording.figures(step))
            if step.validation is not None:
                yield _line(wording.validated(step.validation))
        elif step.total:
            name = f"{step.id}: " if named else ""
            yield _line(f"{name}{counted(step.total, 'step')}; loading and preparing", "dim")
        yield _line(_shortened(f"log {self._folder / step.log}", width), "dim")
        quiet, line = self._watched.quiet_seconds(step.id), self._watched.last_line(step.id)
        if step.paused:
            yield _line(f"paused: {step.paused}", "yellow")
        elif quiet >= QUIET_SECONDS:
            yield _line(wording.silence(quiet, step.pid), "yellow")
        elif line:
            yield _line(line, "dim")


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis", end="\n")


def _step_line(step: StepState, now: float, *, stopping: bool) -> Text:
    word, style = ("stopping", "yellow") if stopping and step.status == "running" else _WORDS[step.status]
    line = _line("  ")
    line.append(f"{word:<9}", style)
    line.append(f"{step.id:<15}")
    line.append(_detail(step, now), "dim")
    return line


def _detail(step: StepState, now: float) -> str:
    if step.status in ("waiting", "skipped"):
        return step.why
    if step.status == "running":
        return wording.duration(now - step.started) if step.started is not None else ""
    parts = [wording.ending_behind(step)]
    if step.status == "lost":
        parts = ["was killed"]
    if step.step:
        parts.append(counted(step.step, "step"))
    if step.seconds_per_step is not None:
        parts.append(f"{step.seconds_per_step:.3g} s/step")
    return ", ".join(parts)


def _bar(step: StepState, *, named: bool) -> RenderableType:
    table = Table.grid(expand=True, padding=(0, 1))
    cells: list[RenderableType] = [ProgressBar(total=step.total or 1, completed=step.step), wording.position(step)]
    if named:
        table.add_column(no_wrap=True)
        cells.insert(0, step.id)
    table.add_column(ratio=1)
    table.add_column(no_wrap=True)
    table.add_row(*cells)
    return table


def _ended(state: RunState) -> str:
    if all(step.status == "skipped" for step in state.steps.values()):
        return "nothing to do: every step is up to date"
    took = wording.duration((state.ended or 0.0) - (state.started or 0.0))
    return f"rehearsal finished in {took}; nothing was trained" if state.rehearsal else f"finished in {took}"


def _shortened(text: str, width: int) -> str:
    """Cut at the left: the end of a path is what tells."""
    return text if len(text) <= width else f"...{text[len(text) - width + 3 :]}"
