"""A contact sheet as one HTML file that needs no network.

Captions and file names come from anywhere. So what is written here is escaped, the script makes text of the rest, and
the page's policy allows nothing but its own script and style and the pictures inside it.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import urllib.parse
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from wan22lora.check.remark import ORDER, Remark, in_short
from wan22lora.dataset.problems import SHOWN, counted, listed
from wan22lora.kinds import TITLES, FindingKind
from wan22lora.sheet.content import Content, Entry, crop_of

GENERATOR = "wan22lora check --sheet"
BLOCK = 60
"""Entries whose thumbnails are read together."""
_MARKS = {"error": "ERROR", "warning": "warning", "note": "advice"}
_MOST_PLACES = 3
"""Folders that are named in the header."""
_WHOLE = 0.995
"""Share of a side from which on no crop is drawn."""


def page(content: Content, thumbnails: Iterable[tuple[bytes, ...]], folder: Path) -> Iterator[str]:
    """The file in pieces; `folder` is where it will lie, from which it leads to the pictures themselves."""
    style, script = _part("page.css"), _part("page.js")
    policy = f"default-src 'none'; img-src data:; style-src {_allowed(style)}; script-src {_allowed(script)}"
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="generator" content="{GENERATOR}">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(content.title)} · contact sheet</title>\n<style>{style}</style>\n</head>\n"
        f'<body data-block="{BLOCK}">\n'
    )
    yield from _header(content)
    yield from _bar(content)
    yield (
        '<main>\n<ul class="remarks" id="told"></ul>\n<div id="cards"></div>\n'
        f'<div class="pages" id="pages" hidden>{_button("Earlier", id="earlier")} <span id="page"></span>'
        f" {_button('Later', id='later')}</div>\n"
        '<p class="keys soft">Keys: / searches, n and p turn the page, Esc clears the search.</p>\n'
        "<noscript><p>Pictures and search need JavaScript; the findings above do not.</p></noscript>\n</main>\n"
    )
    yield _data(content, folder)
    number, block = 0, []
    for each in thumbnails:
        block.append([base64.b64encode(picture).decode() for picture in each])
        if len(block) == BLOCK:
            yield _json(f"thumbnails-{number}", block)
            number, block = number + 1, []
    if block:
        yield _json(f"thumbnails-{number}", block)
    yield f"<script>{script}</script>\n</body>\n</html>\n"


def _header(content: Content) -> Iterator[str]:
    kinds = Counter(entry.shown for entry in content.entries if entry.trains)
    items = " and ".join(counted(kinds[kind], kind) for kind in ("picture", "clip") if kinds[kind])
    places = ", ".join(str(place) for place in content.places)
    if len(content.places) > _MOST_PLACES:
        places = counted(len(content.places), "dataset")
    yield f"<header>\n<h1>{_text(content.title)}</h1>\n"
    yield f'<p class="soft">{_text(items or "nothing that trains")} in {_text(places)}</p>\n'
    yield f"<details open><summary><h2>Findings</h2> · {_text(in_short(content.remarks))}</summary>\n"
    yield f'<ul class="remarks" id="remarks">\n{"".join(map(_remark, content.remarks))}</ul></details>\n'
    lines = "".join(f"<li>{_text(line)}</li>\n" for line in content.forecast)
    yield f'<details><summary><h2>Forecast</h2></summary>\n<ul class="forecast">\n{lines}</ul></details>\n</header>\n'


def _remark(remark: Remark) -> str:
    paragraphs = [_text(listed(remark.files))] if remark.files else []
    if remark.why:
        paragraphs.append(f"{_text(_begun(remark.why))}.")
    if remark.fix:
        paragraphs.append(f"→ {_text(_begun(remark.fix))}")
    paragraphs.append(f'<span class="soft">{_text(remark.where)}</span>')
    said = "".join(f"<p>{each}</p>" for each in paragraphs)
    names = "".join(f"<li>{_text(name)}</li>" for name in remark.files)
    files = f"<details><summary>all {len(remark.files)}</summary><ul>{names}</ul></details>"
    mark = f'<span class="level {remark.level}">{_MARKS[remark.level]}</span>'
    return (
        f'<li data-of="{remark.kind}"><details><summary>{mark} '
        f"{_text(_begun(remark.message))}.</summary>{said}{files if len(remark.files) > SHOWN else ''}</details></li>\n"
    )


def _begun(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def _bar(content: Content) -> Iterator[str]:
    levels = [{content.remarks[each.remark].level for each in entry.told} for entry in content.entries]
    kinds = Counter(kind for entry in content.entries for kind in _kinds_of(entry, content))
    buckets = Counter(_bucket(entry) for entry in content.entries if entry.bucket)
    search = "Search names and captions"
    yield '<nav class="bar" aria-label="Filter"><div>\n'
    yield f'<input type="search" id="q" placeholder="{search}" aria-label="{search}">\n'
    yield _button(f"all {len(levels)}", level="")
    for level in ORDER:
        count = sum(level in each for each in levels)
        if count:
            yield _button(f"{_MARKS[level].lower()} {count}", f'<span class="{level}">●</span> ', level=level)
    yield _button(f"no finding {sum(not each for each in levels)}", level="none")
    yield '<select id="bucket" aria-label="Bucket"><option value="">every bucket</option>'
    yield "".join(f'<option value="{name}">{name} ({count})</option>' for name, count in sorted(buckets.items()))
    yield '</select>\n<span class="soft" id="found" aria-live="polite"></span>\n</div>\n<div class="kinds">\n'
    for kind in dict.fromkeys(remark.kind for remark in content.remarks):
        if kinds[kind]:
            yield _button(f"{TITLES[kind]} {kinds[kind]}", kind=kind)
    yield "</div></nav>\n"


def _button(text: str, before: str = "", **data: str) -> str:
    """A button with an id, or with what the script filters by."""
    attributes = "".join(f' id="{value}"' if key == "id" else f' data-{key}="{value}"' for key, value in data.items())
    return f'<button type="button"{attributes}>{before}{_text(text)}</button>\n'


def _kinds_of(entry: Entry, content: Content) -> set[FindingKind]:
    return {content.remarks[each.remark].kind for each in entry.told}


def _part(name: str) -> str:
    return resources.files("wan22lora.sheet").joinpath(name).read_text("utf-8")


def _data(content: Content, folder: Path) -> str:
    remarks = [{"kind": each.kind, "level": each.level, "title": TITLES[each.kind]} for each in content.remarks]
    several = len(content.places) > 1
    entries = [
        _entry(entry, folder, content.places[entry.dataset].name if several else "") | {"index": index}
        for index, entry in enumerate(content.entries)
    ]
    return _json("content", {"remarks": remarks, "entries": entries})


def _entry(entry: Entry, folder: Path, place: str) -> dict[str, Any]:
    crop = crop_of(entry.size, (entry.bucket[0], entry.bucket[1])) if entry.size and entry.bucket else None
    return {
        "name": _plain(entry.path.name),
        "link": urllib.parse.quote(os.fsencode(os.path.relpath(entry.path, folder))),
        "shown": entry.shown,
        "caption": None if entry.caption is None else _plain(entry.caption),
        "size": entry.size,
        "bucket": _bucket(entry),
        "crop": None if crop is None or min(crop[2:]) >= _WHOLE else [round(part, 4) for part in crop],
        "facts": _plain(_facts(entry, place)),
        "told": [[each.remark, _plain(each.words)] for each in entry.told],
    }


def _facts(entry: Entry, place: str) -> str:
    facts = [place] if place else []
    if entry.size is not None and entry.bucket is not None:
        facts.append(f"{entry.size[0]}×{entry.size[1]} → bucket {_bucket(entry)}")
    elif entry.size is not None:
        facts.append(f"{entry.size[0]}×{entry.size[1]}")
    if entry.windows > 1:
        facts.append(f"{entry.windows} windows")
    if not entry.trains:
        facts.append("not trained")
    elif entry.held_out:
        facts.append("held out for validation")
    return " · ".join(facts)


def _bucket(entry: Entry) -> str:
    if entry.bucket is None:
        return ""
    width, height, *frames = entry.bucket
    return f"{width}×{height}" + (f"×{frames[0]}" if frames else "")


def _json(name: str, value: object) -> str:
    # Inside a script nothing but `</script` and `<!--` means anything to HTML, and neither is left.
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>\n'


def _text(text: str) -> str:
    return html.escape(_plain(text))


def _plain(text: str) -> str:
    """A file name may hold bytes that are no text, which no page takes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _allowed(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
