"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

ConfigOption = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE", help="A TOML file of settings. Without it, ENVELOPE_CODEC_* are read."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document, for programs.")]
AddressOption = Annotated[
    str | None, typer.Option("--address", metavar="HOST:PORT", help="The Temporal server, such as localhost:7233.")
]
ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", metavar="NAME", help="A profile in Temporal's own configuration file (temporal.toml)."),
]
QueueOption = Annotated[
    str, typer.Option("--task-queue", metavar="NAME", help="The task queue of the workers that share the work.")
]
