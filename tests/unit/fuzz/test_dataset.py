"""Whatever lies in a dataset's folder: no traceback, no hang, nothing written outside, a documented exit code.

Every case has a number, which decides it wholly. WAN22LORA_FUZZ=COUNT[:FIRST] runs others: 50000:1000000 many more,
1:1234 the one with that number. A decoder that crashes takes the whole test process with it; the number of the case is
then in the file that the traceback of faulthandler follows.
"""

from __future__ import annotations

import codecs
import contextlib
import faulthandler
import gc
import importlib
import io
import os
import random
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from wan22lora.check.examine import examine, sources_in
from wan22lora.check.forecast import forecast_of_folder
from wan22lora.cli.app import run
from wan22lora.cli.show_check import as_json, as_text
from wan22lora.dataset.memory import Memory
from wan22lora.dataset.scan import scan
from wan22lora.errors import Failure

from ..conftest import as_nobody
from . import material
from .material import CLIPS, PICTURES

SECONDS = 60
"""That a case may take, on a busy machine."""
CHUNKS = 7
COUNT, FIRST = (int(part) for part in f"{os.environ.get('WAN22LORA_FUZZ', '2000')}:0".split(":")[:2])
COMMANDS_EVERY = 8
ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "cp437", "latin-1", "idna")
MODULES = ("email.parser", "email.message", "importlib.metadata", "av", "PIL.ImageOps")
EXIT_CODES = {0, 2, 3, 4, 7}


class Hang(BaseException):
    """So that nothing catches it on the way."""


@pytest.fixture(scope="module")
def work() -> Iterator[Path]:
    """Where others than root may go too, unlike pytest's own folder; in memory where there is such a place."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="wan22lora-fuzz-", dir=memory if memory.is_dir() else None) as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_any_folder_is_checked_to_the_end(chunk: int, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(work / "home"))
    before = signal.signal(signal.SIGALRM, _hang)
    first_files = None
    try:
        for number in range(FIRST + chunk, FIRST + COUNT, CHUNKS):
            place = work / f"case-{number}"
            place.mkdir()
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            if (number - FIRST) // CHUNKS % 25 == 0:  # for what holds on to the interpreter, and no signal stops
                faulthandler.dump_traceback_later(10 * SECONDS, exit=True)
            try:
                _case(number, place)
            except (Exception, Hang) as problem:
                raise AssertionError(f"WAN22LORA_FUZZ=1:{number} repeats this case") from problem
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                _remove(place)
            first_files = first_files or _open_files()
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)
    gc.collect()
    assert first_files is None or _open_files() <= first_files + 3, "files stay open"


def _hang(*_: object) -> None:
    raise Hang


def _case(number: int, place: Path) -> None:
    chance = random.Random(number)
    folder = _build(place, chance)
    before = tree(place)
    closed = _close_some(folder, chance)
    command = _command(number // COMMANDS_EVERY, place, chance) if number % COMMANDS_EVERY == 0 else []
    with nobody() if closed else contextlib.nullcontext():
        if command:
            _type(command)
        else:
            _look(folder)
    _open_again(closed)
    after = tree(place)
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    if command[:1] == ["captions"]:
        changed = {path for path in changed if not path.startswith("data/")}
    assert not changed, f"{command} changed {changed}"


def _build(place: Path, chance: random.Random) -> Path:
    outside, folder = place / "outside", place / "data"
    outside.mkdir()
    folder.mkdir()
    (outside / "secret.png").write_bytes(material.pictures()[0])
    (outside / "secret.txt").write_text("a secret", encoding="utf-8")
    names: list[str] = []
    clips_too = chance.random() < 0.35
    for _ in range(chance.randrange(6)):
        clip = clips_too and chance.random() < 0.6
        name = material.name(chance, CLIPS if clip else PICTURES)
        path = folder / name
        names.append(name)
        if chance.random() < 0.12:
            material.special(path, chance)
        else:
            material.put(path, material.media(chance, clip=clip))
        text = Path(os.path.splitext(path)[0] + ".txt")  # noqa: PTH122
        if chance.random() < 0.07:
            material.special(text, chance)
        elif chance.random() < 0.9:
            material.put(text, material.caption(chance))
    if chance.random() < 0.2:
        material.put(folder / material.name(chance, (".txt", ".zip", "", ".safetensors")), chance.randbytes(40))
    lines = [material.line(chance, folder, names) for _ in range(chance.randrange(5))]
    listed = "\n".join(lines).encode("utf-8", "surrogatepass")
    if chance.random() < 0.1:
        material.special(place / "list.jsonl", chance)
    material.put(place / "list.jsonl", material.mutated(listed, chance) if chance.random() < 0.3 else listed)
    (place / "answers.zip").write_bytes(material.archive(chance))
    source = chance.choice(("images: data", "videos: data", "image_jsonl: list.jsonl", "video_jsonl: list.jsonl"))
    preset = "motion" if source.startswith("video") else "style"
    settings = f"name: fuzz\npreset: {preset}\ntrigger: zxq\ndatasets:\n  - {{{source}}}\n"
    (place / "run.yaml").write_text(settings, encoding="utf-8")
    return folder


def _look(folder: Path) -> None:
    """What `check FOLDER` does, without the command line around it."""
    try:
        scans = tuple(scan(source) for source in sources_in(folder))
    except Failure:
        return
    remarks = examine(scans, [finding for each in scans for finding in each.findings], memory=Memory())
    forecast = forecast_of_folder(scans)
    _fits_a_screen(as_text(remarks, forecast, 2.5))
    as_json(remarks, forecast, None).encode()


def _command(turn: int, place: Path, chance: random.Random) -> list[str]:
    folder, run_file, answers = str(place / "data"), str(place / "run.yaml"), str(place / "answers.zip")
    other = str(place / chance.choice(("list.jsonl", "answers.zip", "outside", "data/p1.png", "nowhere")))
    if Path(other).is_fifo():  # whoever names a pipe wants it read
        other = folder
    commands = (
        ["captions", "import", answers, folder, "--yes"],
        ["check", folder],
        ["captions", "import", answers, folder, "--yes", "--by", "order"],
        ["check", run_file, "--json"],
        ["captions", "import", other, folder, "--yes"],
        ["check", run_file, "--thorough"],
        ["captions", "apply", folder, "--trigger", "zxq", "--yes"],
        ["train", run_file, "--rehearse", "--dry-run"],
        ["captions", "replace", folder, "a", "b", "--yes"],
        ["check", other],
        ["captions", "import", answers, run_file, "--yes"],
        ["check", folder, "--sheet", str(place.parent / "sheet.html")],
    )
    return commands[turn % len(commands)]


def _type(command: list[str]) -> None:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(command)
    shown = out.getvalue() + err.getvalue()
    assert code in EXIT_CODES, f"{command} ended with {code}: {shown}"
    assert "Traceback" not in shown, shown
    if "--json" not in command:
        _fits_a_screen(shown)


def _fits_a_screen(text: str) -> None:
    """Nothing in a name or a caption gives orders to the terminal."""
    text.encode("utf-8")
    odd = {character for character in text if not (character.isprintable() or character in "\n\u200d\ufeff")}
    assert not odd, f"{odd} in {text}"


def tree(place: Path) -> dict[str, tuple[object, ...]]:
    """Everything under a folder, with what changes when it is written."""
    found: dict[str, tuple[object, ...]] = {}
    pending = [str(place)]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                path = os.path.relpath(entry.path, place)
                content = None
                if stat.S_ISDIR(status.st_mode):
                    pending.append(entry.path)
                elif stat.S_ISREG(status.st_mode):
                    content = Path(entry.path).read_bytes()
                elif stat.S_ISLNK(status.st_mode):
                    content = os.fsencode(Path(entry.path).readlink())
                is_folder = stat.S_ISDIR(status.st_mode)
                times = () if is_folder and path == "data" else (status.st_mtime_ns, status.st_size)
                found[path] = (status.st_mode, status.st_ino, *times, content)
    return found


def _close_some(folder: Path, chance: random.Random) -> list[Path]:
    """Takes the permissions from a file, a folder or the dataset itself."""
    if chance.random() > 0.06:
        return []
    path = chance.choice([folder, *sorted(folder.iterdir())])
    if path.is_symlink() or not (path.is_dir() or path.is_file()):
        return []
    path.chmod(0o444 if path.is_dir() and chance.random() < 0.5 else 0)
    return [path]


def _open_again(closed: list[Path]) -> None:
    for path in closed:
        path.chmod(0o755 if path.is_dir() else 0o644)


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    for encoding in ENCODINGS:  # nobody may not read where Python itself lies, perhaps
        codecs.lookup(encoding)
    for module in MODULES:
        importlib.import_module(module)
    with as_nobody():
        yield


def _remove(place: Path) -> None:
    with contextlib.suppress(OSError):
        (place / "data").chmod(0o755)
    shutil.rmtree(place)


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0  # noqa: PTH208
