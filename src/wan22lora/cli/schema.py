"""`wan22lora schema`"""

from __future__ import annotations

import typer


def schema() -> None:
    """Print the JSON schema of run.yaml, by which editors complete and check it."""
    import json

    from wan22lora.spec.model import schema as run_schema

    typer.echo(json.dumps(run_schema(), indent=2, ensure_ascii=False))
