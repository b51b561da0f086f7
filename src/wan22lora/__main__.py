"""The console script, and `python -m wan22lora`."""

from __future__ import annotations

import sys

from wan22lora.cli.app import run


def main() -> None:
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
