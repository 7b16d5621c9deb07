"""Names that stand for a service: what its callers see of it, by its load balancer, its host name or as a client node.

Such a node has no process and nobody owns it; what it measures, its callers measured, and it speaks of the service
behind. Which one that is follows from names alone, by rules that know no installation.
"""

import re
from collections.abc import Iterable, Mapping

# X-Ray and the CloudWatch service map name a node `<name>_<type>`: `client` and `remote` are views of a caller.
_TYPED = re.compile(r"^(?P<base>.+)_(?P<type>client|remote|[A-Za-z]+(?:::[A-Za-z]+)+)$")
_VIEWS = frozenset({"client", "remote"})
# A dotted name alone is no host: `shop.payments` is a service to many.
_HOST = re.compile(r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.(com|net|org|io|dev|cloud|internal|local|lan|svc)$")
_LEAST = 4  # letters of a word that says anything; AWS cuts the names of a balancer's parts to 5


def is_virtual(name: str) -> bool:
    """Whether `name` is a caller's view (`PetSearch_client`, `x_remote`) or a host name, and so no service itself."""
    typed = _TYPED.match(name)
    return typed["type"] in _VIEWS if typed else bool(_HOST.match(name))


def services_behind(names: Iterable[str]) -> Mapping[str, str]:
    """For each virtual one of `names`, the one service among them that it stands for; the doubtful are left out.

    The same name but for its type says so at once. Else the words of the first part of a host name do
    (`servi-searc.us-west-2.elb.amazonaws.com`): a word that is a service's name, or is found in the names of exactly
    one. Words that name different services say nothing.
    """
    every = sorted(set(names))
    real = {name: _base(name).lower() for name in every if not is_virtual(name)}
    found = {name: _behind(name, real) for name in every if is_virtual(name)}
    return {name: service for name, service in found.items() if service is not None}


def _behind(name: str, real: Mapping[str, str]) -> str | None:
    base = _base(name)
    same = [service for service, known in real.items() if known == base.lower()]
    if len(same) == 1:
        return same[0]
    if same or not _HOST.match(base):
        return None
    words = [word for word in re.split(r"[^a-z0-9]+", base.partition(".")[0].lower()) if len(word) >= _LEAST]
    whole = re.sub(r"[^a-z0-9]", "", base.partition(".")[0].lower())
    equal = [service for service, known in real.items() if re.sub(r"[^a-z0-9]", "", known) == whole]
    if len(equal) == 1:
        return equal[0]
    told = set()
    for word in words:
        having = [service for service, known in real.items() if word in known]
        if len(having) == 1:
            told.add(having[0])
    return told.pop() if len(told) == 1 else None


def _base(name: str) -> str:
    typed = _TYPED.match(name)
    base = typed["base"] if typed else name
    if "://" in base:
        return base.rstrip("/").rpartition("/")[2]
    return base.partition(".")[0] if "@" in base else base
