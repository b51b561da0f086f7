"""Blocks that wait in RAM while preservation and validation run their passes."""

from __future__ import annotations

from pathlib import Path

from .asking import ask


def test_every_block_is_in_its_place_wherever_musubi_itself_can_train(
    musubi_python: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    goes = ask(musubi_python, environment, "ask_block_swap", tmp_path)
    assert [40, 20] in goes["training"]
    assert [40, 36] in goes["training"]
    assert goes["extended_training"] == goes["training"]
    assert not goes["unaware_training"], "musubi brings the blocks back by itself now: forward_only can go"
