"""What follows from the code in the Helm chart, and the plain manifests that are rendered with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from envelope_codec.config import EnvelopeConfig, NamespaceKeys
from envelope_codec.server.auth.issuer import Issuer
from envelope_codec.server.auth.rule import Rule
from envelope_codec.server.config import ServerConfig

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "deploy" / "helm" / "envelope-codec"

CHART_SETS = ("listen", "tls_cert", "tls_key")
"""Settings of the server that follow from other values of the chart."""

NOT_IN_A_POD = ("allow_unauthenticated_network", "audit_file")
"""Settings of the server that the chart refuses: its pods are beyond loopback, and no file of theirs outlives them."""

NOT_OF_A_FILE = ("resolver",)

_HEADER = """\
# The codec server on Kubernetes, for those without Helm: the chart deploy/helm/envelope-codec, rendered with
# ci/example-values.yaml there. `make pages` writes this file anew. Replace the image and its digest, the host name,
# the key, the role, the issuer, the rules, and the namespace of your ingress.
# The secret envelope-codec-tls is of type kubernetes.io/tls, as cert-manager makes it.
"""
_OF_HELM = ("app.kubernetes.io/managed-by:", "helm.sh/chart:", "checksum/settings:", "# Settings are read at start:")


def schema_in_step(text: str) -> str:
    """Return the chart's schema of values with the settings that there are now."""
    schema = json.loads(text)
    server = _table(ServerConfig, but=(*CHART_SETS, *NOT_IN_A_POD))
    server["properties"]["auth"]["items"] = _table(Issuer)
    server["properties"]["rules"]["items"] = _table(Rule)
    settings = _table(EnvelopeConfig, but=NOT_OF_A_FILE)
    settings["properties"]["namespaces"]["additionalProperties"] = _table(NamespaceKeys)
    settings["properties"]["server"] = server
    schema["properties"]["settings"] = {**settings, "required": ["server"]}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def rendered(values: str, release: str = "demo", namespace: str = "codec") -> Mapping[str, str]:
    """Return the chart's manifests by their templates' names, as `helm template` would.

    Args:
        values: YAML, as a file that is given with `--values`.
    """
    import helm_python

    with helm_python.Chart.load(CHART) as chart:
        found = chart.render(helm_python.values_from_yaml(values), name=release, namespace=namespace)
    manifests = {name.partition("/templates/")[2]: text for name, text in found.items()}
    return {name: text for name, text in manifests.items() if name.endswith(".yaml") and text.strip()}


def plain_manifests(_: str) -> str:
    """Return the chart's objects as one file that `kubectl apply` takes, without what is Helm's own."""
    manifests = rendered((CHART / "ci" / "example-values.yaml").read_text("utf-8"), release="envelope-codec")
    objects = [_without_helm(text) for name, text in sorted(manifests.items()) if not name.startswith("tests/")]
    return _HEADER + "---\n".join(objects)


def _without_helm(manifest: str) -> str:
    lines = [line for line in manifest.strip().splitlines() if not line.strip().startswith(_OF_HELM)]
    kept = [line for line, after in zip(lines, [*lines[1:], ""], strict=True) if not _is_empty_map(line, after)]
    return "\n".join(kept) + "\n"


def _is_empty_map(line: str, after: str) -> bool:
    return line.strip() == "annotations:" and len(after) - len(after.lstrip()) <= len(line) - len(line.lstrip())


def _table(model: type[BaseModel], but: Iterable[str] = ()) -> dict[str, Any]:
    properties = {name: _setting(field) for name, field in model.model_fields.items() if name not in but}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _setting(field: Any) -> dict[str, Any]:
    # Only what is sure: the server itself checks values, and a size or a duration may be a number or a text.
    annotation = str(field.annotation)
    kind: dict[str, Any] = {"type": "boolean"} if field.annotation is bool else {}
    if annotation.startswith(("dict[", "collections.abc.Mapping[", "typing.Mapping[")):
        kind = {"type": "object"}
    elif annotation.startswith("tuple["):
        kind = {"type": ["array", "string"]}
    return {**kind, "description": field.description}
