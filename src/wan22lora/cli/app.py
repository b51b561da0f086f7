"""The commands, and how failures reach a person: a few lines on the screen, an exit code, never a traceback."""

from __future__ import annotations

from typing import Annotated

import typer

from wan22lora import __version__
from wan22lora.cli import cache, captions, check, doctor, init, models, presets, schema, setup, status, train
from wan22lora.cli.screen import fitted, say
from wan22lora.errors import Failure

app = typer.Typer(
    name="wan22lora",
    help="""A folder of pictures or clips and a short run.yaml become a pair of Wan 2.2 LoRAs, trained by musubi-tuner.

    Start with: wan22lora init, then wan22lora train run.yaml --rehearse""",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("init")(init.init)
app.command("train")(train.train)
app.command("check")(check.check)
app.command("status")(status.status)
app.command("cache")(cache.cache)
app.command("doctor")(doctor.doctor)
app.command("setup")(setup.setup)
app.command("schema")(schema.schema)
app.add_typer(captions.app, name="captions")
app.add_typer(models.app, name="models")
app.add_typer(presets.app, name="presets")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"wan22lora {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of the program itself; `help` of the Typer object describes it."""


def run(argv: list[str]) -> int:
    """Runs one command line and returns its exit code (errors.py lists them)."""
    try:
        result = app(args=spelled_out(argv), prog_name="wan22lora", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except Failure as failure:
        say(fitted(str(failure)), err=True)
        return failure.exit_code
    except typer.Abort:
        say("stopped", err=True)
        return 130
    except typer.Exit as done:
        return done.exit_code
    except KeyboardInterrupt:
        say("stopped", err=True)
        return 130
    except (BrokenPipeError, SystemExit):
        return 0  # `wan22lora … | head` is no error of ours; the option parser exits with 1 there
    except OSError as error:
        return _refused_or_bug(error)
    except Exception as error:
        return _usage_or_bug(error)


def spelled_out(argv: list[str]) -> list[str]:
    """`--force` alone means every step; the option parser needs the word."""
    from wan22lora.cli.choices import FORCE_ALL, may_be_a_step

    spelled: list[str] = []
    for token in argv:
        if spelled and spelled[-1] == "--force":
            spelled[-1] = f"--force={token if may_be_a_step(token) else FORCE_ALL}"
            if may_be_a_step(token):
                continue
        spelled.append(token)
    return [f"--force={FORCE_ALL}" if token == "--force" else token for token in spelled]


def _refused_or_bug(error: OSError) -> int:
    from wan22lora.files import refusal

    refused = refusal(error)
    if refused is None:
        return _usage_or_bug(error)
    say(fitted(str(refused)), err=True)
    return refused.exit_code


def _usage_or_bug(error: Exception) -> int:
    show = getattr(error, "show", None)
    if callable(show):  # the option parser's own exceptions know how to tell a person
        if isinstance(told := getattr(error, "message", None), str):
            error.message = told.replace("Value error, ", "")  # type: ignore[attr-defined]
        show()
        return int(getattr(error, "exit_code", 2))
    from wan22lora.cli.bug import report

    say(report(error), err=True)
    return 1
