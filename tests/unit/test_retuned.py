"""`user_config` over settings: what may change under way, and what it says of the rest."""

import pytest

from sentinel.errors import Invalid
from sentinel.settings import Detection, Settings
from sentinel.settings_loader import retuned

SETTINGS = Settings(detection=Detection(actors=2, open_after=4, checkpoint_path="/x"))


def test_a_section_lies_over_what_was_set() -> None:
    policy = {"name": "drops", "metric": "up", "direction": "down", "slo": {"objective": 0.99}}
    tuned = retuned(SETTINGS, {"detection": {"alarms_per_day": 0.5, "policies": [policy]}}).detection
    assert (tuned.actors, tuned.open_after, tuned.alarms_per_day) == (2, 4, 0.5)
    assert tuned.detector.policies[0].direction == "down"
    assert retuned(SETTINGS, {}).detection == SETTINGS.detection
    assert retuned(SETTINGS, {"detection": {}}) == SETTINGS


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([], "user_config: got"),
        ({"detection": 5}, "user_config: got"),
        ({"store": {}}, "takes a restart"),
        ({"detection": {"open_aftr": 3}}, r"detection.open_aftr: .* did you mean open_after"),
        ({"detection": {"open_after": 0}}, "detection.open_after: got 0"),
        ({"detection": {"actors": 3}}, "detection.actors: got 3, expected 2, as it is; another takes a restart"),
        ({"detection": {"checkpoint_path": "/y"}}, "takes a restart"),
        ({"detection": {"curve_bytes": 1}}, "detection.curve_bytes: got 1, .* takes a restart"),
        ({"detection": {"policies": [{"name": "a"}, {"name": "a"}]}}, "a name of its own for each policy"),
    ],
)
def test_what_cannot_be_is_refused_by_name(given: object, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        retuned(SETTINGS, given)


@pytest.mark.parametrize("path", ["s3://", "s3://b", "s3://Bucket/x", "S3://bucket/x", "gs://bucket/x", ""])
def test_a_checkpoint_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="checkpoint_path"):
        Detection(checkpoint_path=path)
    assert Detection(checkpoint_path="s3://bucket/a/b").checkpoint_path == "s3://bucket/a/b"
