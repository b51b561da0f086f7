"""Where a model file is in a folder of models: our own layout, that of the articles' downloads, or ComfyUI's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from wan22lora.models.catalogue import ModelFile

_FOLDERS: Mapping[str, tuple[str, ...]] = {
    # ComfyUI looks for each kind in both
    "diffusion_models": ("diffusion_models", "unet"),
    "text_encoders": ("text_encoders", "clip"),
    "vae": ("vae",),
}


def target(models: Path, file: ModelFile) -> Path:
    """Where a fetch puts the file."""
    return models.joinpath(*file.relative.split("/"))


def locate(models: Path, file: ModelFile) -> Path | None:
    """The file as it lies there, under its usual name or another that musubi can read it by; None if it does not."""
    return next((path for path in _candidates(models, file) if path.is_file()), None)


def place(models: Path, file: ModelFile) -> Path:
    """Where the file is, or else would be."""
    return locate(models, file) or target(models, file)


def _candidates(models: Path, file: ModelFile) -> Iterator[Path]:
    yield target(models, file)
    if file.folder == "hub":
        return
    for name in (file.file_name, *file.other_names):
        yield models / file.folder / name
        yield models / file.folder / "split_files" / file.folder / name  # the articles' downloads
        yield models / name
    for folder in _FOLDERS[file.folder]:
        if (models / folder).is_dir():
            found = sorted((models / folder).glob("**/*"))  # ComfyUI lets people sort their files into folders
            for name in (file.file_name, *file.other_names):
                yield from (path for path in found if path.name == name)
