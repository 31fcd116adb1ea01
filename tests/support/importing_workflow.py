"""A workflow whose module imports the library and a provider, as one that catches their errors does."""

from __future__ import annotations

from temporalio import workflow

import envelope_codec
import envelope_codec_local


@workflow.defn
class ImportsTheLibrary:
    """Tells which objects it got."""

    @workflow.run
    async def run(self) -> list[int]:
        return [id(envelope_codec.EnvelopeError), id(envelope_codec_local.LocalKeyFile)]
