"""The command ``envelope-codec``.

Only the module of the subcommand that was asked for is imported. Help and shell completion list the other subcommands
by what `COMMANDS` says of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from envelope_codec import __version__
from envelope_codec.cli.checkout import is_checkout
from envelope_codec.errors import EnvelopeError

if TYPE_CHECKING:
    import typer


class Command(NamedTuple):
    """A subcommand: the function, or the Typer application, that has its name in ``module``.

    Attributes:
        module: name of the module, below this package.
        summary: one sentence for the list of subcommands. It is the first line of the subcommand's own help too.
        is_offered: whether help and completion list it here.
    """

    module: str
    summary: str
    is_offered: Callable[[], bool] = lambda: True


COMMANDS = {
    "audit": Command("audit.command", "Say which master keys the histories of a namespace still need."),
    "demo": Command(
        "demo.command", "Encrypt a workflow end to end, and see what Temporal stored.", is_offered=is_checkout
    ),
    "demo-rekey": Command(
        "demo.rekey_command", "Retire a master key that 500 histories need, on real servers.", is_offered=is_checkout
    ),
    "doctor": Command("doctor.command", "Say what is wrong with a configuration, and how to fix it."),
    "inspect": Command("inspection.command", "Print the header of every envelope in a history or payload."),
    "keygen": Command("keygen", "Make or change a key file, for development and tests."),
    "keystore": Command("keystore.command", "Look after the keystore that wrapping keys are kept in."),
    "rewrap": Command("rewrap.command", "Give wrapping keys another master key, to retire an old one."),
    "serve": Command("serve", "Run the codec server for Temporal's Web UI and CLI."),
    "storage": Command("storage.command", "Look after the datastores that payloads are kept in."),
    "token": Command("static_token", "Make a token by which a machine may use the codec server."),
    "worker": Command("worker.command", "Do a part of the work of distributed audits and rewraps."),
}
"""The subcommands, by name."""

_PROGRAM = "envelope-codec"
_COMPLETION = "_ENVELOPE_CODEC_COMPLETE"
"""The variable by which a shell asks for completions. Typer makes its name from the program's."""

_COMPLETED_LINE = ("COMP_WORDS", "_TYPER_COMPLETE_ARGS")
"""The variables in which a shell gives the line to complete: bash the first one, other shells the second one."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line ``arguments``, by default those of this process, and exit.

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
    """Run `main` as a process of its own, and exit with its status.

    Where the SDK of Temporal is loaded, the process ends at once, and the interpreter does not clean up. The SDK's
    threads still run then, and now and then abort an interpreter that ends
    (https://github.com/temporalio/sdk-python/issues/300). Also, the doctor leaves calls behind that hang, of a KMS or a
    datastore that gives no answer, and nobody must wait for them.
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
    except OSError:  # a full disk, for instance: with the status that Python itself gives for that
        status = status or 120
    os._exit(status)


def _application(arguments: Sequence[str]) -> typer.Typer:
    """Make the application with all subcommands. Only the one that ``arguments`` name is imported."""
    import typer

    application = typer.Typer(
        name=_PROGRAM,
        help="Envelope encryption for Temporal payloads.",
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        # Plain help: Rich's keeps the line ends of docstrings and wraps the lines again, and ignores NO_COLOR for bold.
        rich_markup_mode=None,
        # A traceback with the values of local variables would print keys.
        pretty_exceptions_enable=False,
        pretty_exceptions_show_locals=False,
    )

    @application.callback()
    def options(
        version: bool = typer.Option(
            False, "--version", help="Print the version and exit.", is_eager=True, callback=_print_version
        ),
    ) -> None:
        pass

    asked = _asked_command(arguments)
    for name, command in COMMANDS.items():
        if name == asked:
            _add_command(application, name, command)
        elif asked is None and command.is_offered():
            application.command(name, help=command.summary)(_do_nothing)
    return application


def _asked_command(arguments: Sequence[str]) -> str | None:
    """Find the subcommand that is to run, or whose arguments a shell is to complete. None if there is none."""
    if os.environ.get(_COMPLETION):
        line = next((os.environ[name] for name in _COMPLETED_LINE if name in os.environ), "")
        arguments = line.split()[1:]
    first = next((argument for argument in arguments if not argument.startswith("-")), None)
    return first if first in COMMANDS else None


def _add_command(application: typer.Typer, name: str, command: Command) -> None:
    import typer

    function = getattr(import_module(f"{__name__}.{command.module}"), name.replace("-", "_"))
    if isinstance(function, typer.Typer):
        application.add_typer(function, name=name)
    else:
        application.command(name)(function)


def _do_nothing() -> None:
    """Stand in for a subcommand that is only listed."""


def _print_version(wanted: bool) -> None:
    if wanted:
        import typer

        print(f"{_PROGRAM} {__version__}")
        raise typer.Exit


def _fail(message: str, *, status: int) -> NoReturn:
    # Rich would take the brackets of an extra's name for markup.
    print(f"{_PROGRAM}: {' '.join(message.splitlines())}", file=sys.stderr)
    raise SystemExit(status)
