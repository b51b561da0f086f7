"""A process that fetches one file, so that a test can kill it. Arguments: folder, entry as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from wan22lora.models.catalogue import ModelFile
from wan22lora.models.fetch import fetch
from wan22lora.models.progress import Lines

from .hub_server import only_loopback

only_loopback()
entry = ModelFile(**{**json.loads(sys.argv[2]), "other_names": (), "tasks": ()})
fetch(Path(sys.argv[1]), [entry], reporter=Lines(print))
