"""The progress line, character for character as tqdm 4.67.1 writes it."""

from __future__ import annotations

import math

import pytest

from wan22lora.rehearsal.progress import Progress, bar, clock, short_number, speed


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0796, "0.0796"),
        (0.12345, "0.123"),
        (1.0, "1"),
        (1e-05, "1e-5"),
        (123456.0, "1.23e+5"),
        (math.nan, "nan"),
        (math.inf, "inf"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert short_number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "00:00"), (59.9, "00:59"), (3599, "59:59"), (3600, "1:00:00"), (360000, "100:00:00")]
)
def test_hours_appear_when_there_are_some(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"), [(0, "?it/s"), (0.34, " 2.94s/it"), (1, " 1.00it/s"), (20793.91, "20793.91it/s")]
)
def test_slow_steps_are_shown_as_seconds(rate: float, text: str) -> None:
    assert speed(rate) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0, "          "), (1 / 6, "█▋        "), (12 / 36, "███▎      "), (1, "██████████")]
)
def test_the_bar_has_ten_cells_of_eight_parts(share: float, text: str) -> None:
    assert bar(share, "utf-8") == text


def test_the_bar_is_made_of_digits_where_blocks_cannot_be_shown() -> None:
    assert bar(1 / 3, "ascii") == "###3      "


def test_the_line_is_rewritten_and_blanks_cover_what_was_longer(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(4, "steps")
    progress.set_postfix(avr_loss=0.123)
    progress.set_postfix(avr_loss=0.1)
    progress.close()
    progress.close()
    assert capsys.readouterr().err == (
        "\rsteps:   0%|          | 0/4 [00:00<?, ?it/s]"
        "\rsteps:   0%|          | 0/4 [00:00<?, ?it/s, avr_loss=0.123]"
        "\rsteps:   0%|          | 0/4 [00:00<?, ?it/s, avr_loss=0.1]  "
        "\rsteps:   0%|          | 0/4 [00:00<?, ?it/s, avr_loss=0.1]\n"
    )
