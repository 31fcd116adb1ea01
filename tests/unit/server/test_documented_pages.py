"""The codec server's page says what its code does."""

from __future__ import annotations

import re
from pathlib import Path

from envelope_codec.server import ServerConfig
from envelope_codec.server.audit import Entry
from envelope_codec.server.metrics import Metrics
from envelope_codec.server.pages.openapi import _REFUSALS

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "codec-server.md").read_text("utf-8")
METRICS = (ROOT / "docs" / "metrics.md").read_text("utf-8")


def test_every_setting_is_named() -> None:
    assert all(f"| `{name}` |" in TEXT for name in ServerConfig.model_fields)


def test_every_toml_snippet_is_a_valid_configuration_of_the_server(tmp_path: Path) -> None:
    snippets = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert snippets
    for snippet in snippets:
        file = tmp_path / "envelope.toml"
        file.write_text(snippet, "utf-8")
        assert ServerConfig.from_file(file) != ServerConfig()


def test_every_field_of_an_audit_line_is_named() -> None:
    for field in (*Entry("id", "client").line(200, ""), "time", "id_token"):
        assert f"`{field}`" in TEXT, field


def test_every_status_and_metric_is_named() -> None:
    table = TEXT[TEXT.index("| status | means |") : TEXT.index("If payloads of one request")]
    assert set(re.findall(r"\b\d{3}\b", table)) == {"200", "204", *_REFUSALS}
    for line in Metrics().render().decode().splitlines():
        if line.startswith("# TYPE ") and "_created" not in line:
            assert f"`{line.split()[2]}`" in TEXT + METRICS, line
