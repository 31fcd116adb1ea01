"""The command ``envelope-codec``.

Each subcommand is the function, or the Typer application, of its name in the module that ``COMMANDS`` gives. Only the
module of the subcommand that was asked for is imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from envelope_codec import __version__
from envelope_codec.errors import EnvelopeError

if TYPE_CHECKING:
    import typer

COMMANDS = {
    "demo": "demo.command",
    "doctor": "doctor.command",
    "inspect": "inspection.command",
    "keygen": "keygen",
    "serve": "serve",
    "storage": "storage.command",
}
"""The module of each subcommand, below this package."""

_PROGRAM = "envelope-codec"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line ``arguments``, by default the process's own, and exit.

    Exit status: 0, or 1 after an `EnvelopeError`, or 2 for wrong usage or where the extra ``cli`` is not installed.
    An `EnvelopeError` and a missing extra are one line each on standard error.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        application = _application(arguments)
        application(arguments, prog_name=_PROGRAM)
    except EnvelopeError as error:
        _fail(str(error), status=1)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"typer", "rich", "click"}:
            raise
        _fail('the command line needs its extra: pip install "temporal-envelope-codec[cli]"', status=2)


def run() -> NoReturn:
    """`main` as a process of its own, whose exit status is what `main` said.

    Threads of Temporal's SDK are still there when the interpreter ends, and now and then abort it
    (https://github.com/temporalio/sdk-python/issues/300): where they may be, the process ends without that.
    """
    status = 0
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
        if "temporalio.bridge.runtime" not in sys.modules or not isinstance(code, int):
            raise
        status = code
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # a full disk, for instance, and Python's own status for that
        status = status or 120
    os._exit(status)


def _application(arguments: Sequence[str]) -> typer.Typer:
    import typer

    application = typer.Typer(
        name=_PROGRAM,
        help="Envelope encryption for Temporal payloads.",
        no_args_is_help=True,
        add_completion=False,
        # A traceback with the values of local variables would print keys.
        pretty_exceptions_enable=False,
        pretty_exceptions_show_locals=False,
    )

    @application.callback()
    def options(
        version: bool = typer.Option(
            False, "--version", help="Print the version and exit.", is_eager=True, callback=_version
        ),
    ) -> None:
        pass

    asked = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name in [asked] if asked in COMMANDS else COMMANDS:
        module = import_module(f"{__name__}.{COMMANDS[name]}")
        command = getattr(module, name)
        if isinstance(command, typer.Typer):
            application.add_typer(command, name=name)
        else:
            application.command(name)(command)
    return application


def _version(wanted: bool) -> None:
    if wanted:
        import typer

        print(f"{_PROGRAM} {__version__}")
        raise typer.Exit


def _fail(message: str, *, status: int) -> NoReturn:
    # Not by rich: it would take the brackets of an extra's name for markup.
    print(f"{_PROGRAM}: {' '.join(message.splitlines())}", file=sys.stderr)
    raise SystemExit(status)
