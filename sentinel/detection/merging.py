"""One detector out of many: what several checkpoints know of the services that one actor is to hold."""

from collections.abc import Callable, Sequence

from sentinel.detection.config import DetectorConfig
from sentinel.detection.detector import Detector


def merged(parts: Sequence[Detector], wanted: Callable[[str], bool], config: DetectorConfig) -> Detector:
    """The wanted services of all parts, each once: from the part that heard it last, or the first of these.

    A service is heard by one actor at a time, so whoever has its newest sample held it last; no clock is asked. The
    parts are used up.
    """
    best: dict[str, tuple[int, int]] = {}
    for place, part in enumerate(parts):
        part.keep_services(wanted)
        for service in part.services():
            heard = (part.heard_ms(service), -place)
            best[service] = max(best.get(service, heard), heard)
    whole = Detector(config)
    for place, part in enumerate(parts):
        # mypy cannot type a lambda whose default binds the loop's variable; without it every part would see the last.
        part.keep_services(lambda service, place=place: best[service][1] == -place)  # type: ignore[misc]
        whole.adopt(part)
    return whole
