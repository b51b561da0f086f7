"""All captions in one text: as `captions write --review` writes it for editing, and as chats answer in many ways."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator

from wan22lora.captions.answer import Answer
from wan22lora.dataset.listing import CLIP_EXTENSIONS, PICTURE_EXTENSIONS

_EXTENSIONS = "|".join(
    sorted({re.escape(each.lower()) for each in (*PICTURE_EXTENSIONS, *CLIP_EXTENSIONS, ".txt", ".caption")})
)
_NAMED = re.compile(
    rf"^[ \t]*(?:[-*+•|]|\d{{1,5}}[.)])?[ \t]*[#=*_`\[\"“]*[ \t]*"
    rf"(?P<name>[^\n:*`\"“”]{{1,200}}?(?:{_EXTENSIONS}))"
    r"[ \t]*[=*_`\]\"”]*[ \t]*(?P<rest>$|[:—–-]+[*_`]*[ \t]*.*|\|.*)$",
    re.IGNORECASE | re.MULTILINE,
)
_HEADING = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t]+(?P<hash>[^\n]{1,120}?)|\*\*(?P<bold>[^*\n]{1,120})\*\*):?[ \t]*:?[ \t]*$", re.M
)
_LABELLED = re.compile(
    r"^[ \t]*[#*_]*[ \t]*(?P<name>(?:image|picture|photo|clip|video|caption|file|frame)[ \t]*#?[ \t]*\d{1,5})\b"
    r"[ \t]*[:.)\]*_—–-]*[ \t]*(?P<rest>.*)$",
    re.IGNORECASE | re.M,
)
_NUMBERED = re.compile(r"^[ \t]*(?:\*\*)?(?P<name>\d{1,5})[.):](?:\*\*)?[ \t]+(?P<rest>\S.*)$", re.M)
_OURS = "# wan22lora captions"
_OUR_ESCAPE = re.compile(r"(?m)^ (?= *## )")
_OUR_NAME = re.compile(r"^## (?P<name>.*)$", re.M)
_JOINS_EMOJI = "\u200d"
_ESCAPED = re.compile(r"\\(?:\\|[ntr]|x[0-9a-f]{2}|u[0-9a-f]{4}|U000[0-9a-f]{5}|U0010[0-9a-f]{4})")
_NAME_KEYS = ("file", "filename", "file_name", "image", "image_path", "video_path", "picture", "video", "clip", "name")
_TEXT_KEYS = ("caption", "text", "description", "content")


def as_one_text(captions: Iterable[tuple[str, str]], remarks: Iterable[str] = ()) -> str:
    """One text to look through and edit: a line `## name`, the caption below it. `remarks` are lines at its head."""
    parts = [f"## {_on_a_line(name)}\n{_inside(text)}\n" for name, text in captions]
    return "\n".join([_OURS, *(f"# {line}" for line in remarks), "", *parts])


def _on_a_line(name: str) -> str:
    """Line breaks, orders to a terminal and bytes that are no text as `\\n` and the like, and a backslash as two."""
    return "".join(
        each if (each.isprintable() and each != "\\") or each == _JOINS_EMOJI else _escaped(each) for each in name
    )


def _escaped(character: str) -> str:
    return "\\\\" if character == "\\" else character.encode("unicode_escape").decode()


def _as_it_was(name: str) -> str:
    return _ESCAPED.sub(lambda match: match[0].encode("ascii").decode("unicode_escape"), name)


def _inside(text: str) -> str:
    """A line of a caption that looks like a name is set one column in; half characters become question marks."""
    return re.sub(r"(?m)^(?= *## )", " ", text.strip().encode("utf-8", "replace").decode())


def split(text: str) -> list[Answer]:
    """The captions in a text, by file names, headings or numbers, or as JSON; empty where none of these divides it.

    What stands before the first name is no caption.
    """
    if text.startswith(_OURS):
        ours = list(_OUR_NAME.finditer(text))
        ends = [match.start() for match in ours[1:]] + [len(text)] * bool(ours)
        return [
            Answer(_as_it_was(match["name"]), _OUR_ESCAPE.sub("", text[match.end() : end].strip()))
            for match, end in zip(ours, ends, strict=True)
        ]
    found = _from_json(text) or _from_table(text)
    if found:
        return found
    named = list(_NAMED.finditer(text))
    if named:
        return _one_paragraph_each(
            [Answer(match["name"].strip(), _below(text, named, at)) for at, match in enumerate(named)]
        )
    labelled = list(_LABELLED.finditer(text))
    if len(labelled) > 1 and len({match["name"].lower() for match in labelled}) == len(labelled):
        return _one_paragraph_each(
            [Answer(match["name"], _below(text, labelled, at)) for at, match in enumerate(labelled)]
        )
    headed = list(_HEADING.finditer(text))
    if len(headed) > 1:
        return [
            Answer((match["hash"] or match["bold"]).strip().rstrip(":"), _below(text, headed, at))
            for at, match in enumerate(headed)
        ]
    numbered = list(_NUMBERED.finditer(text))
    numbers = [int(match["name"]) for match in numbered]
    if len(numbers) > 1 and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        return _one_paragraph_each(
            [Answer(match["name"], _below(text, numbered, at)) for at, match in enumerate(numbered)]
        )
    return []


def _one_paragraph_each(answers: list[Answer]) -> list[Answer]:
    """Without the chat's farewell after the last caption: the only one with a second paragraph."""
    *others, last = answers
    if others and not any("\n\n" in answer.text for answer in others):
        return [*others, Answer(last.name, last.text.split("\n\n")[0])]
    return answers


def _below(text: str, matches: list[re.Match[str]], at: int) -> str:
    """What follows a name on its line and on the lines down to the next one."""
    match = matches[at]
    end = matches[at + 1].start() if at + 1 < len(matches) else len(text)
    first = match.groupdict().get("rest") or ""
    if match.re is _NAMED:
        first = first.lstrip(":—–-|*_` \t").removesuffix("|").rstrip()
    return f"{first}{text[match.end() : end]}".strip().removesuffix("---").strip()


def _from_json(text: str) -> list[Answer]:
    try:
        return list(_answers(json.loads(text)))
    except (ValueError, RecursionError):
        pass
    try:  # one object on each line
        return list(_answers([json.loads(line) for line in text.splitlines() if line.strip()]))
    except (ValueError, RecursionError):
        return []


def _from_table(text: str) -> list[Answer]:
    """Lines of a CSV file whose first one names the columns."""
    head = text.lstrip().split("\n", 1)[0]
    mark = max(",;\t", key=head.count)
    keys = [key.strip().strip('"').lower() for key in head.split(mark)]
    name = next((keys.index(key) for key in _NAME_KEYS if key in keys), None)
    caption = next((keys.index(key) for key in _TEXT_KEYS if key in keys), None)
    if name is None or caption is None:
        return []
    try:
        rows = list(csv.reader(io.StringIO(text.lstrip()), delimiter=mark))[1:]
    except csv.Error:
        return []
    return [Answer(row[name].strip(), row[caption].strip()) for row in rows if len(row) > max(name, caption)]


def _answers(value: object) -> Iterator[Answer]:
    if isinstance(value, dict):
        if len(value) == 1 and isinstance(inner := next(iter(value.values())), list):
            value = inner
        else:
            yield from (Answer(name, text) for name, text in value.items() if isinstance(text, str))
    for number, each in enumerate(value if isinstance(value, list) else (), 1):
        if isinstance(each, str):
            yield Answer(str(number), each)
        elif isinstance(each, dict):
            text = next((each[key] for key in _TEXT_KEYS if isinstance(each.get(key), str)), None)
            name = next((each[key] for key in _NAME_KEYS if isinstance(each.get(key), str)), str(number))
            if text is not None:
                yield Answer(name, text)
