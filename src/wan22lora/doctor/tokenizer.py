"""T5's tokenizer in Hugging Face's cache: without it musubi goes to the Hub in the middle of caching captions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wan22lora.machine.settings import TOKENIZER_FOLDER

FILES = ("tokenizer_config.json", "tokenizer.json")
"""What transformers' AutoTokenizer needs of google/umt5-xxl to be quick and offline (wan/modules/t5.py:501-506)."""


@dataclass(frozen=True)
class Tokenizer:
    """A cache that holds some of it."""

    hub: Path
    missing: tuple[str, ...] = ()
    """Files that are not there, or are links to nothing."""


def find_tokenizer(models: Path, variables: Mapping[str, str]) -> Tokenizer | None:
    """The first cache that holds the whole tokenizer, else the first that holds part of it, else None."""
    found = [tokenizer for hub in _hubs(models, variables) if (tokenizer := _in_hub(hub)) is not None]
    return next((each for each in found if not each.missing), found[0] if found else None)


def hugging_face_folder(variables: Mapping[str, str]) -> Path:
    """Where Hugging Face's libraries keep everything (huggingface_hub/constants.py)."""
    if variables.get("HF_HOME"):
        return Path(variables["HF_HOME"]).expanduser()
    cache = variables.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path("~/.cache").expanduser()) / "huggingface"


def _hubs(models: Path, variables: Mapping[str, str]) -> Iterator[Path]:
    """The one beside the weights hides the others: musubi's programs are then told of no other."""
    if (models / "hub" / TOKENIZER_FOLDER / "refs" / "main").is_file():
        yield models / "hub"
        return
    named = variables.get("HF_HUB_CACHE") or variables.get("HUGGINGFACE_HUB_CACHE")
    yield Path(named).expanduser() if named else hugging_face_folder(variables) / "hub"


def _in_hub(hub: Path) -> Tokenizer | None:
    repository = hub / TOKENIZER_FOLDER
    if not repository.is_dir():
        return None
    commit = ""
    with suppress(OSError, UnicodeDecodeError):
        commit = (repository / "refs" / "main").read_text(encoding="utf-8").strip()
    if not commit:
        return Tokenizer(hub, ("refs/main",))
    folder = repository / "snapshots" / commit / "google" / "umt5-xxl"
    return Tokenizer(hub, tuple(name for name in FILES if not (folder / name).is_file()))
