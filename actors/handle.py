"""One actor handle: the only place with `.remote(`. Deadlines and back-pressure live here."""

import asyncio
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, PendingCallsLimitExceeded, RayActorError, RayError, RayTaskError

from sentinel.errors import Overloaded, SentinelError, Unavailable

DEADLINE_S = 20.0


class Handle:
    """One named actor, found when first needed and again after it was lost."""

    def __init__(self, name: str, namespace: str) -> None:
        self._name = name
        self._namespace = namespace
        self._actor: Any = None

    async def call(self, method: str, *args: object, deadline_s: float = DEADLINE_S) -> Any:
        """Call `method` once and await its answer.

        Raises what the method raised if that is a SentinelError; Overloaded when its queue is full (it was not
        called); Unavailable when the actor is away or late (it may have been called: read before repeating).
        """
        try:
            if self._actor is None:
                self._actor = ray.get_actor(self._name, self._namespace)
            # One attempt, whatever the actor's options say: a repeated call could repeat an effect.
            reference = getattr(self._actor, method).remote(*args)
            return await asyncio.wait_for(reference, deadline_s)
        except RayTaskError as error:
            if isinstance(error.cause, SentinelError):
                raise error.cause from None
            raise
        except PendingCallsLimitExceeded:
            raise Overloaded(f"{self._name} has too many calls waiting") from None
        except (TimeoutError, GetTimeoutError):
            raise Unavailable(f"{self._name}.{method} did not answer within {deadline_s:.0f} s") from None
        except ValueError:
            raise Unavailable(f"{self._name} is not running") from None
        except RayActorError:
            self._actor = None
            raise Unavailable(f"{self._name} is restarting") from None
        except RayError as error:
            self._actor = None
            raise Unavailable(f"{self._name} cannot be reached: {type(error).__name__}") from None

    async def ping(self) -> str:
        """Whether the actor's loop turns."""
        return str(await self.call("ping", deadline_s=5.0))

    async def end(self) -> bool:
        """End the actor's process, hung or not; Ray starts it anew. False where there was none."""

        def kill() -> bool:
            try:
                ray.kill(ray.get_actor(self._name, self._namespace), no_restart=False)
            except ValueError:
                return False
            except RayError as error:
                raise Unavailable(f"{self._name} cannot be ended: {type(error).__name__}") from None
            return True

        return await asyncio.to_thread(kill)


def create(remote_class: Any, *args: object) -> None:
    """Create the actor of a decorated class, or leave the one that has its name."""
    remote_class.remote(*args)
