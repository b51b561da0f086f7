"""Stand-ins for the two cache programs: musubi-tuner's file names, keys and metadata around tiny tensors.

Source: cache_latents.py:280-328, cache_text_encoder_outputs.py:60-132, wan_cache_latents.py:24-129 and
dataset/cache_io.py:51-79, 305-352, 487-532 at v0.3.4; d0a1930 does the same. As there, `--skip_existing` looks at names
only, files that belong to no item are deleted, and nothing found is a success.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from wan22lora.dataset.latents import latents_of, text_file
from wan22lora.dataset.source import Item, Latents
from wan22lora.rehearsal.cache_folder import CacheFile, Encoder, by_bucket, cache_files, in_chunks, remove_others
from wan22lora.rehearsal.contents import open_datasets, read_captions, read_items
from wan22lora.rehearsal.dataset_toml import Dataset
from wan22lora.rehearsal.session import Session
from wan22lora.rehearsal.tensors import dtype_named, read_metadata

_FORMAT = {"architecture": "wan", "format_version": "1.0.1"}


def cache_latents(args: Namespace, session: Session) -> None:
    """wan_cache_latents.py."""
    datasets = open_datasets(args, session.pin, session.console, "main")
    if args.debug_mode is not None:
        return
    assert args.vae is not None, "vae checkpoint is required"
    session.console.info("main", f"Loading VAE model from {args.vae}")
    session.expect_weights(args.vae, "the VAE")
    dtype = dtype_named(args.vae_dtype or "bfloat16")
    session.faults.on_load()
    encoder = Encoder(session)
    for index, dataset in enumerate(datasets):
        session.console.info("latents", f"Encoding dataset [{index}]")
        source = dataset.source
        files = [
            (latents.bucket, _latents_file(item, latents, dataset, args, dtype))
            for item in read_items(dataset, session.pin)
            for latents in latents_of(item, source)
        ]
        encoder.encode(by_bucket(files, source.batch_size), lambda path: args.skip_existing and path.exists())
        wanted = {file.path for _, file in files}
        present = cache_files(source.cache, "_wan")
        remove_others(present, wanted, keep=args.keep_cache, session=session, module="latents")


def cache_text(args: Namespace, session: Session) -> None:
    """wan_cache_text_encoder_outputs.py: what exists is looked up once at the start, and cleaned up at the end."""
    datasets = open_datasets(args, session.pin, session.console, "main")
    present = [set(cache_files(dataset.source.cache, "_wan_te")) for dataset in datasets]
    session.console.info("main", f"Loading T5: {args.t5}")
    session.expect_weights(args.t5, "the text encoder")
    session.faults.on_load()
    session.console.info("main", "Encoding with T5")
    encoder = Encoder(session)
    wanted: list[set[Path]] = []
    for index, dataset in enumerate(datasets):
        session.console.info("text", f"Encoding dataset [{index}]")
        items = read_captions(dataset, session.pin)
        files = [_text_file(item, dataset) for item in items]
        skipped = present[index] if args.skip_existing else set()
        batches = in_chunks(files, dataset.source.batch_size)
        encoder.encode(batches, skipped.__contains__, before=lambda file: _compare_caption(file, session))
        wanted.append({file.path for file in files})
    for before, now in zip(present, wanted, strict=True):
        remove_others(before, now, keep=args.keep_cache, session=session, module="text")


def latent_shape(bucket: tuple[int, ...]) -> str:
    """`FxHxW` of the latents of a bucket: the VAE turns 8x8 pixels into one, and four frames after the first."""
    frames = bucket[2] if len(bucket) > 2 else 1
    return f"{(frames - 1) // 4 + 1}x{bucket[1] // 8}x{bucket[0] // 8}"


def _latents_file(item: Item, latents: Latents, dataset: Dataset, args: Namespace, dtype: str) -> CacheFile:
    shape = latent_shape(latents.bucket)
    keys = [f"latents_{shape}_{dtype}"]
    if args.clip is not None:
        keys.append(f"clip_{dtype}")
    if args.i2v or args.clip is not None:
        keys.append(f"latents_image_{shape}_{dtype}")
    if dataset.source.control is not None:
        keys.append(f"latents_control_{shape}_{dtype}")
    width, height = item.size if item.frames is None else latents.bucket[:2]
    metadata = _FORMAT | {"width": str(width), "height": str(height)}
    if item.frames is not None:
        metadata["frame_count"] = str(latents.bucket[2])
    return CacheFile(dataset.source.cache / latents.file, tuple(keys), dtype, metadata)


def _text_file(item: Item, dataset: Dataset) -> CacheFile:
    path = dataset.source.cache / text_file(item)
    return CacheFile(path, ("varlen_t5_bfloat16",), "bfloat16", _FORMAT | {"caption1": item.caption})


def _compare_caption(file: CacheFile, session: Session) -> None:
    """musubi reads the header of a file that it writes again: half a header stops it, half a tensor does not."""
    if file.path.exists():
        existing, new = read_metadata(file.path)["caption1"], file.metadata["caption1"]
        if existing != new:
            session.console.warning("dataset", f"caption mismatch: existing={existing}, new={new}, overwrite")
