"""Which of a program's lines are kept in memory."""

from __future__ import annotations

from wan22lora.run.transcript import Transcript


def bar(step: int, loss: str = "0.08") -> str:
    return f"steps:  {step}%|███▎      | {step}/100 [00:34<01:10,  2.94s/it, avr_loss={loss}]"


def test_a_bar_counts_once_however_often_it_is_drawn() -> None:
    transcript = Transcript()
    for line in ("start", "", bar(1), bar(2), "   ", "saving", bar(3), bar(4, "nan")):
        transcript.add(line)
    assert transcript.lines == ("start", bar(2), "saving", bar(4, "nan"))
    assert transcript.last(2) == ("saving", bar(4, "nan"))


def test_a_flood_keeps_its_beginning_and_its_end() -> None:
    transcript = Transcript()
    for number in range(100_000):
        transcript.add(f"warning {number}")
    lines = transcript.lines
    assert len(lines) == 1500
    assert (lines[0], lines[499], lines[500], lines[-1]) == (
        "warning 0",
        "warning 499",
        "warning 99000",
        "warning 99999",
    )


def test_an_empty_transcript_has_no_last_lines() -> None:
    assert Transcript().last(15) == ()
