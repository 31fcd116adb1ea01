"""The CloudFormation template is sound, as cfn-lint sees it, and loses nothing with its stack."""

from __future__ import annotations

import json
import re
import subprocess
import sysconfig
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parents[2] / "deploy" / "cloudformation" / "envelope-codec.yaml"
_RESOURCE = re.compile(r"^  (\w+):\n    Type: (AWS::\S+)\n(.*?)(?=^  \w|^\S)", re.MULTILINE | re.DOTALL)


def test_cfn_lint_finds_nothing() -> None:
    command = str(Path(sysconfig.get_path("scripts"), "cfn-lint"))
    options = ["--format", "json", "--include-checks", "I", "--template", str(TEMPLATE)]
    done = subprocess.run([command, *options], capture_output=True, text=True)
    assert json.loads(done.stdout) == [], done.stdout + done.stderr
    assert done.returncode == 0


def test_nothing_goes_with_the_stack() -> None:
    resources = {name: rest for name, _, rest in _RESOURCE.findall(TEMPLATE.read_text("utf-8"))}
    assert resources.keys() == {"Key", "Alias", "Bucket", "BucketPolicy"}
    for rest in resources.values():
        assert "    DeletionPolicy: Retain\n" in rest
        assert "    UpdateReplacePolicy: Retain\n" in rest


def test_current_payloads_never_expire() -> None:
    text = TEMPLATE.read_text("utf-8")
    assert "NoncurrentVersionExpiration:" in text
    assert not re.search(r"^\s*(ExpirationInDays|ExpirationDate|Transitions?):", text, re.MULTILINE)


def test_no_statement_gives_all_of_kms() -> None:
    assert not re.search(r"^\s*(Action: |- )[\"']?kms:\*", TEMPLATE.read_text("utf-8"), re.MULTILINE)
