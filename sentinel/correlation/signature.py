"""What an incident is remembered by: three vectors that can be compared, made without any text model.

`sig` says who is affected in which way, and decides what is a duplicate: at the default threshold of 0.8 text
embeddings merged different faults in two thirds of their merges, because alert texts share most of their words.
`shape` is the same without the services, so that a fault is recognised where it has not been before. `text` are the
words of the alerts, which a memory with a text model embeds by that instead. None holds a number, time, host or pod.
benchmarks/correlation.py measures them.
"""

import hashlib
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sentinel.correlation.alerts import evidence, measure, subject
from sentinel.correlation.suspects import is_consequence
from sentinel.errors import Invalid
from sentinel.incidents.nouns import Alert, Incident

Vector = NDArray[np.float32]
SIGNATURE_VERSION = "sig-2"  # raise it with any change below: old vectors are not comparable then
DIMENSIONS = 256
SHAPE_DIMENSIONS = 128
TEXT_DIMENSIONS = 256
_ROOT, _AFFECTED = 1.0, 0.35
_CONSEQUENCE = 0.5
_SERVICE = 0.5
_FULL_EVIDENCE = 3.5
_FAINT = 0.5  # alerts less than half as loud as the loudest come and go from minute to minute
_OPENING_MS = 60_000


@dataclass(frozen=True, slots=True)
class Vectors:
    """The three vectors of one incident, float32 and of unit length; they are named so in Qdrant.

    `words` is what `text` was made of, for a text model; what comes out of a memory has none.
    """

    sig: Vector
    shape: Vector
    text: Vector
    words: str = ""


def vectors(alerts: Sequence[Alert], root_service: str) -> Vectors:
    """All three vectors of `alerts`. Raises Invalid for no alerts."""
    return Vectors(signature(alerts, root_service), _shape(alerts, root_service), _text(alerts), _told(alerts))


def vectors_of(incident: Incident) -> Vectors:
    """The vectors of an incident as it now is, without what its own remedy shook."""
    return vectors(_before_the_remedy(incident), root_of(incident))


def opening_of(incident: Incident) -> Vector:
    """The signature of the incident as it began: of the alerts that started within its first minute.

    A new candidate is like the beginning of a fault rather than like all that came of it.
    """
    alerts = _before_the_remedy(incident)
    first_ms = min(alert.started_at_ms for alert in alerts)
    began = [alert for alert in alerts if alert.started_at_ms - first_ms <= _OPENING_MS]
    return signature(began, root_of(incident))


def _before_the_remedy(incident: Incident) -> Sequence[Alert]:
    """Alerts from before the first plan was carried out: an instance that is restarted makes its callers err.

    All of them where none is that old, as when a plan began before the newest samples were heard.
    """
    acted_ms = min((each.started_at_ms for each in incident.plans if each.started_at_ms is not None), default=None)
    if acted_ms is None:
        return incident.alerts
    return [alert for alert in incident.alerts if alert.started_at_ms <= acted_ms] or incident.alerts


def root_of(incident: Incident) -> str:
    """The service that the incident is put down to."""
    return incident.suspects[0].service if incident.suspects else incident.services[0]


def signature(alerts: Sequence[Alert], root_service: str) -> Vector:
    """The unit vector float32[DIMENSIONS] of `alerts`, the same in every process and on every machine.

    Signed feature hashing (Weinberger et al., 2009) by BLAKE2b of `service|kind|direction`, weighted by
    role (the root service 1, others .35), by half for what looks like a consequence, and by the square root of the
    evidence up to 3.5; and of `s|service` at half the role's weight. Faint alerts are left out. Raises Invalid for no
    alerts.
    """
    weights: dict[str, float] = {}
    for alert in _loud(alerts):
        role = (_ROOT if subject(alert) == root_service else _AFFECTED) * _doubt(alert)
        for token, weight in ((token_of(alert), role * _strength(alert)), (f"s|{subject(alert)}", role * _SERVICE)):
            weights[token] = max(weights.get(token, 0.0), weight)
    return _hashed(weights, DIMENSIONS)


def token_of(alert: Alert) -> str:
    """`service|kind|direction`; a call that its caller measured is a kind of its own."""
    return f"{subject(alert)}|{_kind(alert)}|{alert.direction}"


def similarity(a: Vector, b: Vector) -> float:
    """The cosine of two unit vectors of equal length, -1 to 1."""
    return max(-1.0, min(1.0, float(np.dot(a.astype(np.float64), b.astype(np.float64)))))


def _shape(alerts: Sequence[Alert], root_service: str) -> Vector:
    """As `signature`, of `role|kind|direction`: what is wrong, wherever it is."""
    weights: dict[str, float] = {}
    for alert in _loud(alerts):
        of_root = subject(alert) == root_service
        token = f"{'root' if of_root else 'other'}|{_kind(alert)}|{alert.direction}"
        weight = (_ROOT if of_root else _AFFECTED) * _doubt(alert) * _strength(alert)
        weights[token] = max(weights.get(token, 0.0), weight)
    return _hashed(weights, SHAPE_DIMENSIONS)


def _text(alerts: Sequence[Alert]) -> Vector:
    """The words of the alerts and the pairs of neighbours among them; numbers and ids are all one."""
    counts: dict[str, float] = {}
    for alert in alerts:
        words = _words_of(alert)
        for token in (*words, *(f"{a} {b}" for a, b in itertools.pairwise(words))):
            counts[token] = counts.get(token, 0.0) + 1.0
    return _hashed({token: 1.0 + math.log(count) for token, count in counts.items()}, TEXT_DIMENSIONS)


def _told(alerts: Sequence[Alert]) -> str:
    """The words of the alerts, each sentence once, the loudest first: a text model reads no more than its length."""
    loudest_first = sorted(alerts, key=lambda alert: (-evidence(alert), alert.fingerprint))
    return ". ".join(dict.fromkeys(" ".join(_words_of(alert)) for alert in loudest_first))


def _words_of(alert: Alert) -> list[str]:
    return _words(f"{subject(alert)} {alert.metric} {measure(alert)} {alert.direction} {alert.note}")


def _words(text: str) -> list[str]:
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text).lower()
    found = re.findall(r"[^\W_]+", apart)
    return ["#" if any(sign.isdigit() for sign in word) else word for word in found]


def _loud(alerts: Sequence[Alert]) -> list[Alert]:
    if not alerts:
        raise Invalid("alerts", alerts, "at least one, for there is no signature of nothing")
    loudest = max(evidence(alert) for alert in alerts)
    return [alert for alert in alerts if evidence(alert) >= _FAINT * loudest]


def _doubt(alert: Alert) -> float:
    return _CONSEQUENCE if is_consequence(alert) else 1.0


def _strength(alert: Alert) -> float:
    return math.sqrt(min(evidence(alert), _FULL_EVIDENCE) / _FULL_EVIDENCE)


def _kind(alert: Alert) -> str:
    # "Other" is no kind that two alerts share: one on a full disk and one on a certificate are not the same fault.
    kind = measure(alert) if alert.from_outside else alert.kind
    return kind if subject(alert) == alert.service else f"call-{kind}"


def _hashed(weights: Mapping[str, float], dimensions: int) -> Vector:
    vector = np.zeros(dimensions, dtype=np.float64)
    for token, weight in sorted(weights.items()):
        digest = hashlib.blake2b(token.encode(), digest_size=8, person=SIGNATURE_VERSION.encode()).digest()
        vector[int.from_bytes(digest[:4], "little") % dimensions] += weight if digest[4] & 1 else -weight
    # A norm of zero needs all tokens to cancel exactly; such a vector is like nothing, and is no NaN.
    return (vector / (np.linalg.norm(vector) or 1.0)).astype(np.float32)
