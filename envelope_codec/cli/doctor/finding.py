"""The findings of the doctor, and their codes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(str, Enum):
    """How bad a finding is. With a problem something fails or leaks. Advice need not be followed."""

    problem = "problem"
    advice = "advice"


class Code(str, Enum):
    """The kinds of findings, by the names that programs read. docs/command-line.md has the meaning of each."""

    configuration_invalid = "configuration-invalid"
    namespace_unusable = "namespace-unusable"
    namespace_without_key = "namespace-without-key"
    sealing_off = "sealing-off"
    require_encryption_off = "require-encryption-off"
    require_encryption_too_early = "require-encryption-too-early"
    default_key_for_all = "default-key-for-all"
    one_recipient_suffices = "one-recipient-suffices"
    direct_mode = "direct-mode"

    provider_unusable = "provider-unusable"
    wrap_denied = "wrap-denied"
    wrap_unavailable = "wrap-unavailable"
    wrap_invalid = "wrap-invalid"
    unwrap_denied = "unwrap-denied"
    unwrap_unavailable = "unwrap-unavailable"
    unwrap_invalid = "unwrap-invalid"
    no_answer_in_time = "no-answer-in-time"
    opening_unproved = "opening-unproved"
    provider_notice = "provider-notice"
    recipient_lacking = "recipient-lacking"

    store_unusable = "store-unusable"
    store_refused = "store-refused"
    store_unavailable = "store-unavailable"
    store_invalid = "store-invalid"
    reading_unproved = "reading-unproved"

    keystore_unusable = "keystore-unusable"
    keystore_refused = "keystore-refused"
    keystore_unavailable = "keystore-unavailable"
    keystore_rows_unread = "keystore-rows-unread"
    keystore_rows_malformed = "keystore-rows-malformed"
    sharing_policy = "sharing-policy"
    keystore_of_others = "keystore-of-others"
    keystore_backup_unusable = "keystore-backup-unusable"
    keystore_backup_lacks_rows = "keystore-backup-lacks-rows"
    keystore_backup_not_opened = "keystore-backup-not-opened"
    keystore_backup_unproved = "keystore-backup-unproved"

    issuer_keys_unavailable = "issuer-keys-unavailable"
    introspection_unavailable = "introspection-unavailable"
    issuers_not_asked = "issuers-not-asked"

    server_unreachable = "server-unreachable"
    server_refused = "server-refused"
    namespace_missing = "namespace-missing"
    no_payloads = "no-payloads"
    payloads_in_clear = "payloads-in-clear"
    payloads_of_legacy_codec = "payloads-of-legacy-codec"
    payloads_malformed = "payloads-malformed"
    payloads_of_later_version = "payloads-of-later-version"
    failures_in_clear = "failures-in-clear"
    key_not_configured = "key-not-configured"
    foreign_namespace = "foreign-namespace"
    clock_off = "clock-off"


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        level: problem or advice.
        code: which kind of finding.
        subject: the setting, key, datastore or namespace concerned.
        text: what was found, in words for people. It may hold text from elsewhere.
        fix: what to do about it.
        words: what the KMS, the datastore or the server said itself; empty if nothing.
    """

    level: Level
    code: Code
    subject: str
    text: str
    fix: str = ""
    words: str = ""


def problem(code: Code, subject: str, text: str, fix: str = "", words: str = "") -> Finding:
    """Make a finding that makes the exit status 1."""
    return Finding(Level.problem, code, subject, text, fix, words)


def advice(code: Code, subject: str, text: str, fix: str = "", words: str = "") -> Finding:
    """Make a finding that leaves the exit status as it is."""
    return Finding(Level.advice, code, subject, text, fix, words)
