"""Writes docs/configuration.md from the settings' own definitions. Run: ``python docs/make_configuration.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from envelope_codec.config import EnvelopeConfig, NamespaceKeys

PAGE = Path(__file__).with_name("configuration.md")

_TYPES = {
    "key": "key",
    "legacy_codecs": "list of codecs",
    "required": "true, false, or list of names",
    "resolver": "function",
    "storage": "URL",
    "former_storage": "list of URLs",
    "storage_threshold": "size",
    "lease": "duration",
}

HEAD = """# Configuration

<!-- Written by docs/make_configuration.py; do not edit. -->

Give settings in code (`EnvelopePlugin(key, lease="2m")`, or `EnvelopeConfig(...)`), in a TOML file
(`EnvelopeConfig.from_file("envelope.toml")`), or in the environment (`EnvelopeConfig.from_env()`), under the same
names. A wrong or unknown setting is an error when the configuration is made, and names the setting.

- Durations are seconds, or texts such as `"90s"`, `"5m"`, `"24h"`, `"1d"`.
- Sizes are bytes, or texts such as `"256KiB"`, `"1MiB"` (1,024s) and `"1MB"` (1,000s).
- Units may be in upper or lower case. A list of one may be a single text. All of this holds for `[server]` as well.
- Environment variables are `ENVELOPE_CODEC_` and the name in capitals: `ENVELOPE_CODEC_MAX_AGE=12h`. Lists are
  separated by commas, maps are JSON objects. `ENVELOPE_CODEC_FILE` names a TOML file to begin with; other variables
  override it.

```toml
# envelope.toml
key = "arn:aws:kms:us-east-1:111122223333:alias/envelope"
decrypt_keys = ["arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"]
lease = "2m"

[namespaces.billing]
key = "arn:aws:kms:eu-central-1:111122223333:alias/billing"
```
"""


def page() -> str:
    """The page as it should be."""
    return (
        HEAD
        + "\n## Settings\n\n"
        + _table(EnvelopeConfig)
        + "\n## Settings of a namespace\n\nUnder `namespaces.NAME`. A namespace takes nothing from the default settings"
        + " of these names, `lease` apart.\n\n"
        + _table(NamespaceKeys)
    )


def _table(model: type[BaseModel]) -> str:
    rows = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    for name, field in sorted(model.model_fields.items(), key=lambda item: item[0] != "key"):
        rows.append(f"| `{name}` | {_TYPES.get(name) or _type(field)} | {_default(field)} | {field.description} |")
    return "\n".join(rows) + "\n"


def _type(field: FieldInfo) -> str:
    annotation: Any = field.annotation
    if get_origin(annotation) is tuple:
        return "list of keys"
    if get_origin(annotation) is dict:
        return "map" if get_args(annotation)[1] is str else "map of settings"
    if annotation is float:
        return "duration"
    if annotation is bool:
        return "true or false"
    if annotation is int:
        return "number"
    return " or ".join(f'`"{value}"`' for value in get_args(annotation))


def _default(field: FieldInfo) -> str:
    value = field.default
    if field.is_required():
        return "required"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{_duration(value)}`"
    if value in (None, (), {}):
        return ""
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def _duration(seconds: float) -> str:
    for size, unit in ((3_600, "h"), (60, "m")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
