"""`wan22lora schema`"""

from __future__ import annotations

import typer


def schema() -> None:
    """Print the JSON schema of run.yaml.

    Editors complete and check a run.yaml by it; files that `init` writes name it.
    """
    import json

    from wan22lora.spec.model import schema as run_schema

    typer.echo(json.dumps(run_schema(), indent=2, ensure_ascii=False))
