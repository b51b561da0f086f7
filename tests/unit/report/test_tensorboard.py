"""Curves for TensorBoard: read back byte by byte here, and by TensorBoard itself where it is installed."""

from __future__ import annotations

import importlib
import importlib.util
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan22lora.report.event_file import Scalar, crc32c, event_file
from wan22lora.report.scalars import curves, write_tensorboard
from wan22lora.run.ledger import Event


def records(content: bytes) -> Iterator[bytes]:
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        (of_length,), (of_data,) = (struct.unpack("<I", content[at : at + 4]) for at in (8, 12 + length))
        data = content[12 : 12 + length]
        for part, masked in ((content[:8], of_length), (data, of_data)):
            crc = crc32c(part)
            assert masked == ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF
        yield data
        content = content[16 + length :]


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 0x80:
            return value, at


def message(data: bytes) -> dict[int, Any]:
    """The fields of a protocol buffer by number."""
    fields: dict[int, Any] = {}
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            fields[key >> 3], at = varint(data, at)
        elif key & 7 == 2:
            length, at = varint(data, at)
            fields[key >> 3], at = data[at : at + length], at + length
        else:
            form = "<d" if key & 7 == 1 else "<f"
            fields[key >> 3] = struct.unpack_from(form, data, at)[0]
            at += struct.calcsize(form)
    return fields


def read_back(content: bytes) -> list[Scalar]:
    head, *events = map(message, records(content))
    assert head[3] == b"brain.Event:2"
    found = []
    for event in events:
        value = message(message(event[5])[1])
        found.append(Scalar(event[1], event[2], value[1].decode(), value[2]))
    return found


def test_the_checksum_is_that_of_rfc_3720() -> None:
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(b"123456789") == 0xE3069283


floats = st.floats(width=32, allow_nan=False)


@given(st.lists(st.builds(Scalar, st.floats(0, 2e9), st.integers(0, 2**40), st.text(max_size=200), floats), max_size=5))
def test_what_is_written_is_read_back(scalars: list[Scalar]) -> None:
    assert read_back(event_file(1.5, scalars)) == scalars


def test_a_value_that_is_no_number_or_too_large_is_written_all_the_same() -> None:
    values = [point.value for point in read_back(event_file(0, [Scalar(0, 1, "a", v) for v in (float("nan"), 1e300)]))]
    assert values[0] != values[0]
    assert values[1] == pytest.approx(3.4028235e38)


def step(number: int, loss: float | str = 0.5, **more: Any) -> Event:
    fields = {"step": number, "total": 9, "loss": loss, "seconds": None, "lr": 1e-4}
    return {"t": 100.0 + number, "event": "train-step", "id": "train-high", **fields, **more}


def begun(number: int, state: str | None) -> Event:
    return {"t": 99, "event": "training-begun", "id": "train-high", "step": number, "state": state}


VALIDATION: Event = {
    "t": 103.0,
    "event": "validation",
    "id": "train-high",
    "step": 2,
    "loss": 0.25,
    "bins": [{"low": 875.0, "high": 890.625, "loss": 0.5}],
}


def test_every_figure_of_a_step_is_a_curve() -> None:
    more: dict[str, Any] = {"losses": {"diffusion": 0.5, "preservation": 0.25}, "gpu_peak": 2**30, "seconds": 2.0}
    points = curves([begun(0, None), step(1), step(2, **more), VALIDATION])["train-high"]
    assert {(point.step, point.tag): point.value for point in points} == {
        (1, "loss"): 0.5,
        (1, "lr"): 1e-4,
        (2, "loss"): 0.5,
        (2, "lr"): 1e-4,
        (2, "seconds"): 2.0,
        (2, "loss/diffusion"): 0.5,
        (2, "loss/preservation"): 0.25,
        (2, "gpu_peak GiB"): 1.0,
        (2, "validation/loss"): 0.25,
        (2, "validation/875-891"): 0.5,
    }


def losses(events: list[Event]) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in curves(events).get("train-high", []) if point.tag == "loss"]


def test_steps_that_were_trained_again_are_told_once() -> None:
    first = [begun(0, None), step(1), step(2), step(3, 0.1)]
    assert losses([*first, begun(2, "a state"), step(3, 0.2)]) == [(1, 0.5), (2, 0.5), (3, 0.2)]
    assert losses([*first, begun(0, None), step(1, 0.3)]) == [(1, 0.3)]


def test_malformed_events_are_left_out() -> None:
    odd: list[Event] = [{"event": "train-step"}, {"event": "validation", "id": "x"}, step(1, "?"), step(2, loss="nan")]
    assert [number for number, _ in losses(odd)] == [2]


def test_each_training_has_a_run_of_its_own_that_tensorboard_reads(tmp_path: Path) -> None:
    low = {**step(1, 0.75), "id": "train-low"}
    files = write_tensorboard([begun(0, None), step(1), step(2), VALIDATION, low], tmp_path)
    assert {name: path.parent.name for name, path in files.items()} == {
        "train-high": "train-high",
        "train-low": "train-low",
    }
    longer = write_tensorboard([begun(0, None), step(1), step(2), VALIDATION, step(3), low], tmp_path)
    assert longer == files
    assert [path.name for path in (tmp_path / "train-high").iterdir()] == [files["train-high"].name]
    if importlib.util.find_spec("tensorboard") is None:
        assert len(read_back(files["train-high"].read_bytes())) == 8
        return
    reader = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    found = reader.EventAccumulator(str(tmp_path / "train-high"))
    found.Reload()
    assert [(point.step, point.value) for point in found.Scalars("loss")] == [(1, 0.5), (2, 0.5), (3, 0.5)]
    assert found.Scalars("validation/loss")[0].wall_time == 103.0
