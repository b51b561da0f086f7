"""Run by musubi-tuner's Python: parses many argument lists with one program's own parser.

argv: the program's file, then a JSON file with the argument lists. The answers, null or argparse's message
for each list, are written beside it as answers.json.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[4] / "scripts"))
from contract import capture_parser


class _RefusedError(Exception):
    pass


def _refuse(message):
    raise _RefusedError(message)


def answer(parser, argv):
    try:
        parser.parse_args(argv)
    except _RefusedError as refused:
        return str(refused)
    return None


def main(program, questions):
    parser = capture_parser(program)
    parser.error = _refuse
    answers = [answer(parser, argv) for argv in json.loads(questions.read_text(encoding="utf-8"))]
    (questions.parent / "answers.json").write_text(json.dumps(answers), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
