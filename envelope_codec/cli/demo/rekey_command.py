"""``envelope-codec demo-rekey``: retire a master key that 500 histories need, on real servers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from temporalio.exceptions import TemporalError
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.service import RPCError

from envelope_codec.cli.demo.rekey_chapters import Broken, Chapters
from envelope_codec.cli.demo.rekey_story import Story
from envelope_codec.cli.demo.report import Report
from envelope_codec.cli.demo.running import explain, keep_logs, run_until_signal
from envelope_codec.cli.demo.servers import SERVERS, Kms, NoCheckout, load_devstack, retire_aws_key, start
from envelope_codec.errors import EnvelopeError

_MAX_AGE = 30.0  # seconds: so short that the demo need not wait for a day
_PACKAGES = 'make demo-rekey installs them, or pip install "temporal-envelope-codec[aws,vault,server,storage-sql]"'


def demo_rekey(
    workflows: Annotated[int, typer.Option(metavar="NUMBER", min=20, help="How many workflows are sealed.")] = 500,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Take the old master key out of the keystore as well.")
    ] = False,
    stay: Annotated[bool, typer.Option("--stay", help="Leave the Web UI for you to look, until Ctrl-C.")] = False,
    save: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Leave there what audit printed, before and after.")
    ] = None,
) -> None:
    """Retire a master key that 500 histories need, on real servers.

    Workflows are sealed under a key of AWS KMS (LocalStack). Their wrapping keys are re-wrapped to a key of Vault
    (OpenBao), and the key of AWS is scheduled for deletion. Then all is opened again. It starts real servers, and stops
    them when it is done. It needs a source checkout.

    Exit status: 0 if all went as it must; 1 if something did not; 2 if the demo could not run.
    """
    log = keep_logs()
    try:
        status = asyncio.run(run_until_signal(_demo(workflows, _MAX_AGE, save, drop_old=drop_old, stay=stay)))
    except ModuleNotFoundError as error:
        status = explain(f"it needs packages, as {error.name}: {_PACKAGES}", log)
    except (NoCheckout, EnvelopeError, TemporalError, RPCError, RuntimeError) as error:
        status = explain(str(error), log)
    raise typer.Exit(status)


async def _demo(workflows: int, max_age: float, save: Path | None, *, drop_old: bool, stay: bool) -> int:
    servers, report = load_devstack(), Report()
    async with AsyncExitStack() as stack:
        from localserver import free_port  # beside the devstack that is loaded

        folder = Path(stack.enter_context(TemporaryDirectory(prefix="envelope-demo-")))
        port = free_port()
        temporal = servers.TemporalServer(ui=True, ui_codec_endpoint=f"http://127.0.0.1:{port}", db=False)
        aws, vault = servers.LocalStack(), servers.OpenBao()
        with report.step("servers") as remark:
            starts = [start(one, stack) for one in (aws, vault, temporal)]
            for failure in filter(None, await asyncio.gather(*starts, return_exceptions=True)):
                raise failure
            remark("LocalStack (AWS KMS), OpenBao (Vault Transit), Temporal dev server")
        with report.step("master keys") as remark:
            old, new = await asyncio.to_thread(_create_keys, aws, vault, folder)
            remark("OLD in AWS KMS, NEW in Vault")
        runtime = Runtime(telemetry=TelemetryConfig(logging=None))
        story = Story(temporal.address, old, new, folder, {"max_age": max_age, "outage_grace": 0}, runtime)
        chapters = Chapters(story, report, save)
        try:
            await chapters.seal(workflows)
            await chapters.audit_before()
            await chapters.move(max_age)
            await chapters.retire(partial(retire_aws_key, aws, old))
            if drop_old:
                await chapters.drop_old()
            await chapters.audit_after()
            await chapters.open_all(port, temporal.ui_address, stack)
            await chapters.go_without()
        except Broken as broken:
            report.verdict(str(broken), good=False)
            return 1
        report.verdict("OLD is gone, and nothing was lost.", good=True)
        if stay:
            report.facts({"Web UI": f"{temporal.ui_address}/namespaces/default/workflows", "": "Ctrl-C ends it"})
            await asyncio.Event().wait()
        return 0


def _create_keys(aws: Any, vault: Any, folder: Path) -> tuple[str, str]:
    return SERVERS[Kms.aws].create_key(aws, folder), SERVERS[Kms.vault].create_key(vault, folder)
