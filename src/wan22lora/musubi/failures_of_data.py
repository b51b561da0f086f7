"""Failures whose cause is in the dataset or in the caches made of it."""

from __future__ import annotations

from wan22lora.musubi.failure import FRAMES, KnownFailure

RECACHE = "wan22lora cache run.yaml --force"

CACHES = (
    KnownFailure(
        # The error cannot be sent from a data-loader process, so the training would otherwise wait for ever
        "damaged-cache",
        r"Can't pickle <class 'safetensors_rust\.SafetensorError'>"
        rf"|dataset.bucket\.py.*\n{FRAMES}.*SafetensorError: Error while deserializing",
        "A cache file is cut short, as a caching that was stopped may leave it.",
        RECACHE,
    ),
    KnownFailure(
        "damaged-weights",
        r"SafetensorError: Error while deserializing",
        "A model file is cut short, or is a download page or Git LFS pointer instead of the model.",
        "compare the file's size with that on the Hub and download it again",
    ),
    KnownFailure(
        "caches-not-for-image-to-video",
        r"KeyError: 'latents_image'",
        "The latents were cached for text-to-video: they lack the first picture that image-to-video trains with.",
        "wan22lora cache run.yaml --only-latents --force",
    ),
    KnownFailure(
        "captions-not-cached",
        r"Text encoder output cache file not found: (?P<path>.+)(?s:.)*No training items found",
        "No caption is encoded, so nothing is left to train on; the first one missing is {path}.",
        "wan22lora cache run.yaml --only-text --force",
    ),
    KnownFailure(
        "no-training-items",
        r"No training items found in the dataset",
        "musubi found no cached pictures or clips: they were not cached, or are elsewhere.",
        RECACHE,
    ),
    KnownFailure(
        "stranger-in-cache",
        r"in prepare_for_training\nValueError: (?:invalid literal for int|not enough values|too many values)",
        "The cache folder holds a file ending in _wan.safetensors that is no cache, a LoRA for example.",
        f"move it elsewhere, or: {RECACHE}",
    ),
    KnownFailure(
        "cache-sizes-differ",
        r"stack expects each tensor to be equal size",
        "Items of one batch have caches of different size: some were made with another resolution or frame count.",
        "wan22lora cache run.yaml --only-latents --force",
    ),
)

DATASET = (
    KnownFailure(
        "caption-extension-missing",
        r"in get_caption\n.*No such file or directory: ''",
        "musubi was not told how caption files end.",
        "data.caption_extension: .txt",
    ),
    KnownFailure(
        "caption-missing",
        r"in get_caption\n.*No such file or directory: '(?P<path>[^']+)'",
        "{path} is missing: every clip (and at the article's pin every picture) needs a caption.",
        "write the caption, or take the item out of the folder",
    ),
    KnownFailure(
        "caption-not-utf8",
        rf"in get_caption\n{FRAMES}UnicodeDecodeError",
        "A caption file is not UTF-8 text (Notepad calls another encoding ANSI or UTF-16).",
        "save the captions as UTF-8",
    ),
    KnownFailure(
        "damaged-picture",
        r"cannot identify image file '?(?P<path>[^'\n]*)|(?P<what>image file is truncated|broken data stream)",
        "A picture cannot be read: {path}{what}.",
        "open the pictures in a viewer, replace or remove the broken one",
    ),
    KnownFailure(
        "picture-too-small",
        r"Image or video size too small: (?P<what>.+)",
        "Pictures must have 8 pixels in each direction at least: {what}.",
        "remove or replace it",
    ),
    KnownFailure(
        "cache-folders-not-unique",
        r"cache directory should be unique for each dataset",
        "Two datasets have the same cache folder.",
        "give each entry under `datasets` a folder of its own",
    ),
    KnownFailure(
        "dataset-toml-refused",
        r"(?P<what>(?:extra keys not allowed|required key not provided|(?:expected|not a valid|length of) [^@\n]+)"
        r" @ data\[.*)",
        "musubi refuses dataset.toml: {what}.",
        "do not edit dataset.toml: run.yaml's `data` and `datasets` make it; is the checkout at run.yaml's `pin`?",
    ),
    KnownFailure(
        "file-missing",
        r"FileNotFoundError: .*No such file or directory: '(?P<path>[^']+)'",
        "{path} is not there.",
        "check `models` and the dataset's folders in run.yaml",
    ),
)
