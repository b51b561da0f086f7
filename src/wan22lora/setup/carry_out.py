"""The plan of a setup, carried out action by action."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from wan22lora.errors import Finding, Interrupted, MachineError
from wan22lora.files import write_text, written
from wan22lora.models.fetch import fetch
from wan22lora.models.progress import reporter_for
from wan22lora.run.pipes import Stream
from wan22lora.run.process import ProcessResult, run_process
from wan22lora.run.stop import StopRequest
from wan22lora.run.transcript import Transcript
from wan22lora.setup.elsewhere import undisturbed
from wan22lora.setup.failures import likely_cause
from wan22lora.setup.model import Action, Expect, Fetch, Move, Plan, Prove, Record, Remove, Run, Write
from wan22lora.setup.proof import prove
from wan22lora.setup.show import action_as_shell, step_as_line
from wan22lora.setup.workshop import Workshop, sweep

_QUIET_SECONDS = 60.0
"""torch's wheel alone can keep pip silent for minutes."""
_SHOWN_LINES = 12


def carry_out(plan: Plan, workshop: Workshop, say: Callable[[str], None], again: str) -> Path:
    """Does what is not right yet, with the lock held; returns the log. `again` is the command that continues.

    Raises MachineError for what stands against the plan, before anything is touched, and for what fails.
    """
    if plan.refusals:
        raise MachineError("setup cannot work here; nothing was changed", findings=plan.refusals)
    log = workshop.new_log()
    with log.open("ab") as file, _stoppable(again):
        hands = _Hands(workshop, file, log, say, again)
        for number, step in enumerate(plan.steps, 1):
            hands.tell(f"{number}/{len(plan.steps)} {step_as_line(step)}")
            for action in step.actions:
                hands.do(action)
    return log


@contextmanager
def _stoppable(again: str) -> Iterator[None]:
    """Between commands too, a signal ends a setup with the words that say how to go on."""

    def stop(number: int, _: object) -> None:
        raise _stopped(128 + number, again)

    signals = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in signals}
    try:
        yield
    except KeyboardInterrupt:
        raise _stopped(128 + signal.SIGINT, again) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stopped(exit_code: int, again: str) -> Interrupted:
    return Interrupted("Setup was stopped.", exit_code=exit_code, fix=f"{again} goes on from here")


class _Hands:
    """Carries out single actions, and writes down what was done."""

    def __init__(self, workshop: Workshop, file: BinaryIO, log: Path, say: Callable[[str], None], again: str) -> None:
        self._workshop = workshop
        self._file = file
        self._log = log
        self._say = say
        self._again = again

    def tell(self, text: str) -> None:
        self._say(text)
        self._write(f"{text}\n".encode())

    def do(self, action: Action) -> None:
        self._write("".join(f"$ {line}\n" for line in action_as_shell(action)).encode())
        if isinstance(action, Run):
            self._run(action)
        elif isinstance(action, Expect):
            self._expect(action)
        elif isinstance(action, Remove):
            with written(action.path):
                _remove(action.path)
        elif isinstance(action, Move):
            with written(action.target):
                action.target.parent.mkdir(parents=True, exist_ok=True)
                action.source.replace(action.target)
        elif isinstance(action, Write):
            with written(action.path):
                action.path.parent.mkdir(parents=True, exist_ok=True)
                sweep(action.path)
                write_text(action.path, action.content)
        elif isinstance(action, Prove):
            self.tell(f"  {prove(action)}")
        elif isinstance(action, Record):
            _record(action)
        elif isinstance(action, Fetch):
            self._fetch(action)

    def _run(self, action: Run) -> None:
        if action.unless and self._process(action.unless, action, shown=False)[0].exit_code == 0:
            return
        self._say(f"  $ {next(action_as_shell(Run(action.argv)))}")
        result, transcript = self._process(action.argv, action, shown=True)
        if result.exit_code:
            raise self._failed(action, result, transcript)

    def _expect(self, action: Expect) -> None:
        run = Run(action.argv)
        result, transcript = self._process(action.argv, run, shown=False)
        if result.exit_code:
            raise self._failed(run, result, transcript)
        if list(transcript.lines) != [action.output]:
            raise MachineError(f"{action.otherwise[:1].upper()}{action.otherwise[1:]}.", fix=f"see {self._log}")

    def _fetch(self, action: Fetch) -> None:
        try:
            fetch(action.models, (found.file for found in action.files), reporter=reporter_for(self._say))
        except Interrupted as stopped:
            raise _stopped(stopped.exit_code, self._again) from None

    def _process(self, argv: tuple[str, ...], action: Run, *, shown: bool) -> tuple[ProcessResult, Transcript]:
        stop, transcript, lines = StopRequest(), Transcript(), _Lines()
        told_at = started = time.monotonic()

        def on_chunk(stream: Stream, data: bytes) -> None:
            nonlocal told_at
            self._write(data)
            for line in lines.of(stream, data):
                transcript.add(line)
            if shown:
                told_at = time.monotonic()
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()

        def on_tick() -> None:
            nonlocal told_at
            if shown and time.monotonic() - told_at > _QUIET_SECONDS:
                told_at = time.monotonic()
                self._say(f"  still at work, {(told_at - started) / 60:.0f} min")

        with stop.listening():
            result = run_process(
                argv,
                Path.cwd(),
                undisturbed(action.env),
                on_chunk=on_chunk,
                stop=stop,
                on_start=self._workshop.running,
                on_tick=on_tick,
            )
        for line in lines.rest():
            transcript.add(line)
        self._workshop.ended()
        if stop.count:
            raise _stopped(stop.exit_code, self._again)
        return result, transcript

    def _failed(self, action: Run, result: ProcessResult, transcript: Transcript) -> MachineError:
        findings = [Finding("", f"  {line}") for line in transcript.last(_SHOWN_LINES)]
        cause = likely_cause(result.exit_code, transcript.lines)
        command = next(action_as_shell(Run(action.argv)))
        return MachineError(
            f"A command of setup failed (exit code {result.exit_code}): {command}",
            findings=[*findings, *([cause] if cause else []), Finding("log", str(self._log))],
            fix=f"{self._again} goes on from here" if cause else "",
        )

    def _write(self, data: bytes) -> None:
        with written(self._log):
            self._file.write(data)
            self._file.flush()


class _Lines:
    """Lines of two streams of bytes, each whole."""

    def __init__(self) -> None:
        self._open: dict[Stream, bytes] = {"out": b"", "err": b""}

    def of(self, stream: Stream, data: bytes) -> list[str]:
        *whole, self._open[stream] = (self._open[stream] + data).replace(b"\r", b"\n").split(b"\n")
        return [line.decode("utf-8", "replace") for line in whole]

    def rest(self) -> list[str]:
        return [line.decode("utf-8", "replace") for line in self._open.values() if line]


def _record(action: Record) -> None:
    from wan22lora.machine.settings import write_machine

    sweep(action.file)
    write_machine(**action.settings)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
