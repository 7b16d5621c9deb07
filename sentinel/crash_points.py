"""Named points at which a process can die: before and after every commit of a fact and every call to the outside.

A no-op in production. A test gives a hook that ends the process, or what stands for it, at one of them.
"""

from collections.abc import Callable

OUTSIDE = ("observe", "send", "rehearse", "trail", "health")

_hook: Callable[[str], None] | None = None


def reached(point: str) -> None:
    """The code is at `point`: `before` or `after`, then the kind of the first fact of a commit or the outside call."""
    if _hook is not None:
        _hook(point)


def watch(hook: Callable[[str], None] | None) -> None:
    """Call `hook` at every point from now on; None ends it. For tests only."""
    global _hook  # noqa: PLW0603 one for the process, as the process dies as one
    _hook = hook
