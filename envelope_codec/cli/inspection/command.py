"""``envelope-codec inspect``: the headers of the envelopes in a document, without a key."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from envelope_codec.cli.inspection.document import read_document
from envelope_codec.cli.inspection.inventory import Inventory
from envelope_codec.cli.inspection.report import print_inventory
from envelope_codec.cli.options import JsonOption
from envelope_codec.cli.output import Page, complain, json_text, leave
from envelope_codec.cli.payloads.walk import Unreadable, locations_in


def inspect(
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON to read. - is standard input.")] = "-",
    as_json: JsonOption = False,
) -> None:
    """Print the header of every envelope in a history or payload.

    It reads protobuf's JSON, such as `temporal workflow show -o json` prints: a payload, several of them, the history
    of a workflow, or lines of these. It decrypts nothing, and asks no KMS.

    Exit status: 0 if every envelope is well-formed; 1 if one is malformed or of a later version; 2 if the input can't
    be read.
    """
    if file == "-" and sys.stdin.isatty():
        complain("reading JSON from the terminal; end it with Ctrl-D")
    try:
        inventory = Inventory.of(locations_in(read_document(file)))
    except Unreadable as error:
        leave(str(error), 2)
    if as_json:
        print(json_text(inventory.document()))
    else:
        print_inventory(inventory, Page())
    raise typer.Exit(0 if inventory.is_sound else 1)
