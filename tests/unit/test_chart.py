"""The Helm chart, rendered by Helm's own library: what it makes is Kubernetes', and its settings are the server's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml

from envelope_codec import EnvelopeConfig, __version__
from envelope_codec.server import ServerConfig
from tools.chart import CHART, rendered

ROOT = Path(__file__).resolve().parents[2]
MINIMAL, EXAMPLE, EVERYTHING = (
    (CHART / "ci" / f"{name}-values.yaml").read_text("utf-8") for name in ("minimal", "example", "everything")
)
MINIMAL_KEY = yaml.safe_load(MINIMAL)["settings"]["key"]
_OLDEST = "1.25.0"  # Chart.yaml's kubeVersion

Objects = Mapping[str, Any]


def objects_of(values: str) -> Objects:
    """The objects by kind; the pod of `helm test` is "Pod"."""
    found = [yaml.safe_load(text) for text in rendered(values).values()]
    assert len({one["kind"] for one in found}) == len(found)
    return {one["kind"]: one for one in found}


def with_values(**changed: Any) -> str:
    """The least values, and others by dotted paths, with ``__`` for a dot."""
    values = yaml.safe_load(MINIMAL)
    for path, value in changed.items():
        *outer, last = path.split("__")
        table = values
        for name in outer:
            table = table.setdefault(name, {})
        table[last] = value
    return json.dumps(values)


def settings_of(objects: Objects, folder: Path) -> tuple[EnvelopeConfig, ServerConfig]:
    file = folder / "envelope.toml"
    file.write_text(objects["ConfigMap"]["data"]["envelope.toml"])
    return EnvelopeConfig.from_file(file), ServerConfig.from_file(file)


def container_of(objects: Objects) -> Any:
    [container] = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    return container


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from texts_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts_in(inner)
    else:
        yield str(value)


def test_the_library_is_helm_and_finds_nothing_to_say() -> None:
    assert helm_python.helm_sdk_version().startswith("v4.")
    for values in (MINIMAL, EXAMPLE, EVERYTHING):
        report = helm_python.lint(CHART, helm_python.values_from_yaml(values), strict=True)
        assert report["errors"] == []
        assert [one["error"] for one in report["messages"]] == ["icon is recommended"]


def test_the_chart_is_for_this_version() -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))["appVersion"] == __version__


@pytest.mark.parametrize("values", [MINIMAL, EXAMPLE, EVERYTHING], ids=["minimal", "example", "everything"])
@pytest.mark.parametrize("version", [_OLDEST, kubernetes_validate.latest_version()])
def test_kubernetes_knows_every_object(values: str, version: str) -> None:
    objects = objects_of(values)
    assert objects.keys() >= {"ConfigMap", "Deployment", "NetworkPolicy", "Pod", "PodDisruptionBudget", "Service"}
    for one in objects.values():
        kubernetes_validate.validate(one, version.rpartition(".")[0], strict=True)


def test_kubernetes_knows_every_plain_manifest() -> None:
    plain = list(yaml.safe_load_all((ROOT / "deploy" / "kubernetes.yaml").read_text("utf-8")))
    for one in plain:
        kubernetes_validate.validate(one, kubernetes_validate.latest_version().rpartition(".")[0], strict=True)
    assert {one["kind"] for one in plain} == objects_of(EXAMPLE).keys() - {"Pod"}
    assert "helm" not in json.dumps(plain).lower()


@pytest.mark.parametrize("values", [MINIMAL, EXAMPLE, EVERYTHING], ids=["minimal", "example", "everything"])
def test_objects_fit_together(values: str, tmp_path: Path) -> None:
    objects = objects_of(values)
    _, server = settings_of(objects, tmp_path)
    pod, container = objects["Deployment"]["spec"]["template"], container_of(objects)
    [port] = container["ports"]
    assert server.listen == (f"0.0.0.0:{port['containerPort']}",)
    assert port["name"] == ("https" if server.tls_cert else "http")
    assert pod["spec"]["terminationGracePeriodSeconds"] > server.shutdown_delay + server.shutdown_timeout
    readiness = container["readinessProbe"]
    assert server.shutdown_delay > 2 * readiness["periodSeconds"]
    for probe, path in {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}.items():
        asked = container[f"{probe}Probe"]["httpGet"]
        assert (asked["path"], asked["port"]) == (server.prefix + path, port["name"])
        assert asked["scheme"] == port["name"].upper()
    assert objects["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    assert objects["NetworkPolicy"]["spec"]["ingress"][0]["ports"] == [{"protocol": "TCP", "port": port["name"]}]
    for kind in ("Service", "PodDisruptionBudget", "Deployment", "NetworkPolicy"):
        spec = objects[kind]["spec"]
        selector = spec.get("selector") or spec["podSelector"]
        assert selector.get("matchLabels", selector).items() <= pod["metadata"]["labels"].items()
    # The service sends nothing to the pod of `helm test`.
    assert not objects["Service"]["spec"]["selector"].items() <= objects["Pod"]["metadata"]["labels"].items()
    account = objects.get("ServiceAccount", {"metadata": {"name": "codec"}})["metadata"]["name"]
    for spec in (pod["spec"], objects["Pod"]["spec"]):
        assert spec["serviceAccountName"] == account
        [one] = spec["containers"]
        mounted = {mount["name"]: mount["mountPath"] for mount in one["volumeMounts"]}
        assert mounted.keys() == {volume["name"] for volume in spec["volumes"]}
        if server.tls_cert:
            assert (server.tls_cert, server.tls_key) == (f"{mounted['tls']}/tls.crt", f"{mounted['tls']}/tls.key")


@pytest.mark.parametrize("values", [MINIMAL, EVERYTHING], ids=["minimal", "everything"])
def test_pods_are_restricted_as_kubernetes_standard_asks(values: str) -> None:
    objects = objects_of(values)
    for pod in (objects["Deployment"]["spec"]["template"]["spec"], objects["Pod"]["spec"]):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert {kind for volume in pod["volumes"] for kind in volume} <= {
            *("name", "configMap", "secret", "projected", "emptyDir")
        }
        [container] = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert container["resources"]["limits"]["memory"] == "512Mi"
        assert "@sha256:" in container["image"]


def test_settings_arrive_as_they_were_given(tmp_path: Path) -> None:
    config, server = settings_of(objects_of(EVERYTHING), tmp_path)
    assert config.namespaces["prod.acct"].decrypt_keys == ("hashivault://old?cluster=eu",)
    assert (config.cache_size, config.lease, config.key) == (20_000, 120.0, None)
    assert (server.body_limit, server.inline_below, server.workers) == (8 * 2**20, 0, 2)
    assert [issuer.issuer for issuer in server.auth] == ["https://idp.example.com", "robots"]
    assert server.rules[1].claims["groups"] == ("a", 'b"c')


@pytest.mark.parametrize("text", ["é", "a\nb", "back\\slash", "<&>'\"", "{{ .Values }}", "5", "true", "1e3"])
def test_texts_arrive_letter_for_letter(text: str, tmp_path: Path) -> None:
    rules = [{"claims": {text: text}, "namespaces": ["a"]}]
    _, server = settings_of(objects_of(with_values(settings__server__rules=rules)), tmp_path)
    assert server.rules[0].claims == {text: (text,)}


def test_what_is_changed_replaces_the_pods() -> None:
    checks = [
        objects_of(values)["Deployment"]["spec"]["template"]["metadata"]["annotations"]["checksum/settings"]
        for values in (MINIMAL, MINIMAL, with_values(settings__lease="1m"))
    ]
    assert checks[0] == checks[1] != checks[2]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("podDisruptionBudget__enabled", "PodDisruptionBudget"),
        ("networkPolicy__enabled", "NetworkPolicy"),
        ("serviceAccount__create", "ServiceAccount"),
    ],
)
def test_what_is_turned_off_is_not_there(path: str, kind: str) -> None:
    assert objects_of(MINIMAL).keys() - objects_of(
        with_values(**{path: False, "serviceAccount__name": "a"})
    ).keys() == {kind}


def test_autoscaling_takes_the_place_of_replicas() -> None:
    fixed, scaled = objects_of(with_values(replicas=5)), objects_of(EVERYTHING)
    assert "HorizontalPodAutoscaler" not in fixed
    assert fixed["Deployment"]["spec"]["replicas"] == 5
    assert "replicas" not in scaled["Deployment"]["spec"]
    spec = scaled["HorizontalPodAutoscaler"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 9)
    assert spec["scaleTargetRef"]["name"] == scaled["Deployment"]["metadata"]["name"]


def test_the_policy_lets_in_whom_it_names_and_out_what_the_server_needs() -> None:
    spec = objects_of(MINIMAL)["NetworkPolicy"]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert [rule["from"] for rule in spec["ingress"]] == [[{"podSelector": {}}]]
    assert [[port["port"] for port in rule["ports"]] for rule in spec["egress"]] == [[53, 53], [443]]
    spec = objects_of(EVERYTHING)["NetworkPolicy"]["spec"]
    assert [rule.get("to") for rule in spec["egress"]] == [None, [{"ipBlock": {"cidr": "10.1.0.0/16"}}]]


def test_secrets_are_named_and_nothing_more() -> None:
    container, pod = container_of(objects_of(EVERYTHING)), objects_of(EVERYTHING)["Deployment"]["spec"]["template"]
    by_name = {one["name"]: one for one in container["env"]}
    assert by_name["ENVELOPE_CODEC_FORMER_STORAGE"]["valueFrom"] == {
        "secretKeyRef": {"name": "payload-database", "key": "url"}
    }
    assert by_name["SOME_NUMBER"]["value"] == "5"
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert volumes["secret-issuer"]["secret"] == {"secretName": "issuer-secret", "defaultMode": 0o440}
    [token] = volumes["tokens"]["projected"]["sources"]
    assert token["serviceAccountToken"]["audience"] == "https://vault.example.com"


def test_no_object_holds_a_secret() -> None:
    for values in (MINIMAL, EXAMPLE, EVERYTHING):
        objects = objects_of(values)
        assert "Secret" not in objects
        shown = " ".join(texts_in(objects["ConfigMap"]))
        assert not any(word in shown.lower() for word in ("password", "begin private", "hvs."))


@pytest.mark.parametrize(
    "settings",
    [
        {"former_storage": ["postgresql://codec:hunter2@db.example.com/payloads"]},
        {"former_storage": "redis://:hunter2@cache.example.com"},
        {"keystore": "postgresql://db.example.com/keys?user=u&password=hunter2"},
        {"namespaces": {"prod": {"key": "hashivault://k?cluster=c&token=hunter2"}}},
    ],
)
def test_a_password_in_the_settings_is_refused_and_not_repeated(settings: dict[str, Any]) -> None:
    values = yaml.safe_load(MINIMAL)
    values["settings"].update(settings)
    with pytest.raises(helm_python.HelmRenderError, match="keep the URL in a secret") as caught:
        rendered(json.dumps(values))
    assert "hunter2" not in str(caught.value)


_DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"image": {"repository": "registry.example.com/codec"}}, "digest"),
        ({"image__digest": "latest"}, "digest"),
        ({"image__digest": "sha256:1234"}, "digest"),
        ({"image__repository": ""}, "repository"),
        ({"image__repository": "registry.example.com/codec:1.0"}, "repository"),
        ({"image__repository": f"registry.example.com/codec@{_DIGEST}"}, "repository"),
        ({"image__tag": "1.0"}, "tag"),
        ({"image__pullPolicy": "Sometimes"}, "pullPolicy"),
        ({"replicas": "two"}, "replicas"),
        ({"replicas": 0}, "replicas"),
        ({"replicaCount": 2}, "replicaCount"),
        ({"settings": None}, "settings"),
        ({"settings__server": None}, "server"),
        ({"settings__kye": "arn:aws:kms:us-east-1:111122223333:alias/envelope"}, "kye"),
        ({"settings__resolver": "a:b"}, "resolver"),
        ({"settings__server__listen": "0.0.0.0:1"}, "listen"),
        ({"settings__server__audit_file": "/tmp/a"}, "audit_file"),
        ({"settings__server__allow_unauthenticated_network": True}, "allow_unauthenticated_network"),
        ({"settings__server__rules": [{"namespace": "a"}]}, "namespace"),
        ({"settings__server__strict": "yes"}, "strict"),
        ({"settings__namespaces": {"prod": {"keys": "a"}}}, "keys"),
        ({"env": {"VAULT_TOKEN": "hvs.hunter2"}}, "VAULT_TOKEN"),
        ({"env": {"AWS_SECRET_ACCESS_KEY": "hunter2"}}, "AWS_SECRET_ACCESS_KEY"),
        ({"secretEnv": {"VAULT_TOKEN": "hvs.hunter2"}}, "VAULT_TOKEN"),
        ({"secretEnv": {"VAULT_TOKEN": {"value": "hunter2"}}}, "VAULT_TOKEN"),
        ({"secretFiles": {"Not A Name": "a"}}, "Not A Name"),
        ({"tokens": {"vault": {"audience": "v", "expirationSeconds": 5}}}, "expirationSeconds"),
        ({"networkPolicy__from": []}, "from"),
        ({"networkPolicy__from": None}, "from"),
        ({"networkPolicy__from": [{}]}, "from"),
        ({"networkPolicy__from": [{"podselector": {}}]}, "podselector"),
        ({"networkPolicy__extraEgress": [{}]}, "extraEgress"),
        ({"service__type": "ExternalName"}, "type"),
        ({"service__port": 70_000}, "port"),
        ({"podLabels": {"a": 1}}, "podLabels"),
        ({"securityContext": {"privileged": True}}, "securityContext"),
    ],
)
def test_wrong_values_are_refused(changed: Mapping[str, Any], named: str) -> None:
    with pytest.raises(helm_python.HelmError, match=named) as caught:
        rendered(with_values(**changed))
    assert "hunter2" not in str(caught.value)


def test_fewer_pods_at_most_than_at_least_are_refused() -> None:
    scaling = {"enabled": True, "minReplicas": 4, "maxReplicas": 3, "targetCPUUtilizationPercentage": 70}
    with pytest.raises(helm_python.HelmRenderError, match="maxReplicas: less than"):
        rendered(with_values(autoscaling=scaling))


def test_an_account_that_is_there_needs_its_name() -> None:
    with pytest.raises(helm_python.HelmRenderError, match=r"serviceAccount\.name"):
        rendered(with_values(serviceAccount__create=False))


def test_the_chart_alone_says_what_is_missing() -> None:
    with pytest.raises(helm_python.HelmError, match="image"):
        rendered("{}")


def test_the_values_of_the_documents_are_taken(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "deploying-the-codec-server.md").read_text("utf-8")
    shown = page.split("```yaml\n", 1)[1].split("```", 1)[0]
    objects = objects_of(shown.replace("sha256:…", _DIGEST))
    config, server = settings_of(objects, tmp_path)
    assert (config.key, server.origins) == (MINIMAL_KEY, ("https://cloud.temporal.io",))
    assert objects["ServiceAccount"]["metadata"]["annotations"].keys() == {"eks.amazonaws.com/role-arn"}


def test_every_value_has_a_type_and_every_typed_one_a_default() -> None:
    with helm_python.Chart.load(CHART) as chart:
        schema, values = chart.schema, chart.values
    assert schema is not None
    assert schema["properties"].keys() - {"global"} == values.keys()


def test_notes_say_what_is_left_to_do() -> None:
    with helm_python.Chart.load(CHART) as chart:
        notes = [
            chart.render(helm_python.values_from_yaml(values), name="demo")["envelope-codec/templates/NOTES.txt"]
            for values in (EXAMPLE, EVERYTHING)
        ]
    assert ["http: plaintext" in text for text in notes] == [False, True]
    assert ["No Web UI" in text for text in notes] == [False, True]
