"""Ray itself is killed in the middle of an approved plan; the next start of Sentinel carries it out, once."""

from collections import Counter
from collections.abc import Iterator

import pytest

from sentinel.cli.story import Story
from sentinel.errors import SentinelError
from tests.chaos.apart import Apart, apart
from tests.chaos.running import waited
from tests.chaos.test_kill_actors import effects


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    with apart(tmp_path_factory.mktemp("cluster"), SENTINEL_CORRELATION_RESOLVE_AFTER_S="3") as shop:
        shop.start()
        shop.system.story("memory_leak", "storage").learned()
        yield shop


def in_mid_execution(shop: Apart, fault: str, service: str) -> tuple[Story, Counter[str]]:
    """An approved plan whose first call has reached AWS and whose steps are not done; and the calls before it."""
    before = Counter(shop.system.aws_calls())
    story = shop.system.story(fault, service)
    story.scale = 2.0  # Sentinel has to start in between
    story.injected()
    story.detected()
    story.asked()
    assert Counter(shop.system.aws_calls()) == before, "nothing is done before a person agrees"
    story.approved()
    waited(lambda: Counter(shop.system.aws_calls()) - before or None, 30, "the first call", every_s=0.1)
    assert story._plan()["state"] == "executing"
    return story, before


def carried_out_once(shop: Apart, story: Story, before: Counter[str]) -> list[str]:
    """The kinds of the incident's facts, once it has ended and AWS has been told each approved thing once."""
    story.executed()
    story.resolved()
    assert Counter(shop.system.aws_calls()) - before == effects(story)
    story.told()
    story.audited()
    kinds = [entry["kind"] for entry in shop.system.client.get(f"/api/v1/incidents/{story.incident_id}")["timeline"]]
    assert kinds.count("step_started") == kinds.count("step_succeeded") == len(story._plan()["steps"])
    shop.system.calm()
    # Else the next fault may join what this one shook.
    waited(lambda: quiet(shop), 60, "every incident resolved")
    return kinds


def quiet(shop: Apart) -> bool | None:
    incidents = shop.system.client.get("/api/v1/incidents", limit=100)["incidents"]
    return all(incident["state"] == "resolved" for incident in incidents) or None


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("server", "service"), [("gcs_server", "storage"), ("raylet", "search")])
def test_a_killed_server_of_ray_ends_sentinel_which_says_so(shop: Apart, server: str, service: str) -> None:
    story, before = in_mid_execution(shop, "memory_leak", service)
    shop.kill(server)
    assert shop.ended(within_s=40) != 0, "a supervisor starts anew what failed"
    assert "start Sentinel again" in " ".join(shop.told().split())
    with pytest.raises(SentinelError):
        shop.system.client.get("/health")
    shop.start()
    carried_out_once(shop, story, before)


@pytest.mark.timeout(400)
def test_a_whole_cluster_killed_at_once_is_carried_on_by_the_next(shop: Apart) -> None:
    story, before = in_mid_execution(shop, "traffic_surge", "payments")
    shop.kill_all()
    assert shop.ended(within_s=20) == -9
    shop.start()
    kinds = carried_out_once(shop, story, before)
    assert kinds.index("step_started") < kinds.index("execution_resumed")
