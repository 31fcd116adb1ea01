"""The public keys of signing keys: read from the vault, kept for a while, and read again."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from envelope_codec.provider import Failed, renew_after_fork
from envelope_codec_azure._hints import BAD_SIGNATURE, SIGN_KEY_WRONG_USAGE
from envelope_codec_azure._signed import Signer
from envelope_codec_azure._vault import Vault

_MOST = 64


@dataclass(frozen=True)
class Clock:
    """Two clocks: the monotonic one stands still while a machine sleeps, the other one may be set.

    Attributes:
        monotonic, wall: seconds.
    """

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


@dataclass(frozen=True)
class _Known:
    signer: Signer
    public: ec.EllipticCurvePublicKey
    monotonic: float
    wall: float


class Signers:
    """The signing keys of one master key.

    A version that is disabled or deleted is noticed when its public key is read again: within ``refresh`` seconds.

    Args:
        vault: where they are.
        names: the first one signs, signatures of all of them count.
        refresh: seconds for which a public key is used.
        clock: what measures them.
    """

    _lock: threading.Lock

    def __init__(self, vault: Vault, names: Sequence[str], *, refresh: float, clock: Clock | None = None) -> None:
        self._vault = vault
        self._names = tuple(names)
        self._refresh = refresh
        self._clock = clock or Clock()
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        renew_after_fork(self, _lock=threading.Lock)

    def __bool__(self) -> bool:
        return bool(self._names)

    def __contains__(self, signer: Signer) -> bool:
        return signer.name in self._names

    def find_current(self, *, anew: bool = False) -> tuple[Signer, ec.EllipticCurvePublicKey]:
        """Find the version that signs: the latest one of the first key.

        Args:
            anew: ask the vault in any case.

        Raises:
            Failed: it is disabled, expired, or no key for signatures with P-256.
            Exception: the vault could not be asked, or refused.
        """
        name = self._names[0]
        known = None if anew else self._look_up((name, ""))
        if known is None:
            known = self._read(name, "")
        return known.signer, known.public

    def find_public_key(self, signer: Signer) -> ec.EllipticCurvePublicKey:
        """Find the public key of ``signer``, whose name is one of the configured ones.

        Raises:
            Failed: it is disabled, or it can't have made a signature with P-256.
            Exception: the vault could not be asked, or refused.
        """
        known = self._look_up((signer.name, signer.version))
        return (known or self._read(signer.name, signer.version)).public

    def _look_up(self, place: tuple[str, str]) -> _Known | None:
        with self._lock:
            known = self._known.get(place)
        if known is None:
            return None
        age = max(self._clock.monotonic() - known.monotonic, self._clock.wall() - known.wall)
        return known if age < self._refresh else None

    def _read(self, name: str, version: str) -> _Known:
        monotonic, wall = self._clock.monotonic(), self._clock.wall()  # from when it was asked
        key = self._vault.read_key(name, version, signing=True)
        public = key.p256_public_key()
        if version:
            key.check_enabled()
        else:
            key.check_usable("sign")
        if public is None:
            raise Failed(BAD_SIGNATURE if version else SIGN_KEY_WRONG_USAGE)
        known = _Known(Signer(name, key.version), public, monotonic, wall)
        with self._lock:
            self._known[(name, version)] = known
            self._known.move_to_end((name, version))
            while len(self._known) > _MOST:
                self._known.popitem(last=False)
        return known
