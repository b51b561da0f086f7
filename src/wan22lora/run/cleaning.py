"""Removes cache files that a run made and no longer uses."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from wan22lora.files import written
from wan22lora.plan.manifest import read_manifest, record_name, write_manifest
from wan22lora.run.folder import RunFolder


def clean(cache: Path, files: Sequence[Path]) -> None:
    """Forgets and removes the files, and the folders that are empty then.

    Raises RunFolderError while the run is at work, and MachineError where the disk refuses.
    """
    with RunFolder(cache.parent).lock(), written(cache):
        names = {record_name(path) for path in files}
        manifest = read_manifest(cache)
        kept = {name: key for name, key in manifest.files.items() if name not in names}
        write_manifest(cache, replace(manifest, files=kept, begun=manifest.begun - names))
        for path in files:
            path.unlink(missing_ok=True)
        for folder in sorted({path.parent for path in files}, key=lambda path: len(path.parts), reverse=True):
            for empty in (folder, folder.parent):
                if empty != cache:
                    with suppress(OSError):  # it holds something
                        empty.rmdir()
