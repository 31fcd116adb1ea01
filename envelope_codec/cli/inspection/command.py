"""``envelope-codec inspect``: the headers of the envelopes in a document, without a key."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from envelope_codec.cli.inspection.document import read_document
from envelope_codec.cli.inspection.inventory import Inventory
from envelope_codec.cli.inspection.report import print_inventory
from envelope_codec.cli.output import Page, json_text, printable
from envelope_codec.cli.payloads.walk import Unreadable, locations_in


def inspect(
    file: Annotated[str, typer.Argument(help="JSON to read; - is standard input.", metavar="[FILE]")] = "-",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document, for programs.")] = False,
) -> None:
    """Print the header of every envelope in a history or payload. Nothing is decrypted, and no KMS is asked.

    It reads protobuf-JSON: a payload, several, a workflow's history, or lines of these, such as
    `temporal workflow show -o json` prints.

    Exit status: 0; 1 if an envelope is malformed or of a later version; 2 if the input can't be read.
    """
    if file == "-" and sys.stdin.isatty():
        print("envelope-codec: reading JSON from the terminal; end it with Ctrl-D", file=sys.stderr)
    try:
        inventory = Inventory.of(locations_in(read_document(file)))
    except Unreadable as error:
        print(f"envelope-codec: {printable(str(error))}", file=sys.stderr)
        raise typer.Exit(2) from None
    if as_json:
        print(json_text(inventory.document()))
    else:
        print_inventory(inventory, Page())
    raise typer.Exit(0 if inventory.is_sound else 1)
