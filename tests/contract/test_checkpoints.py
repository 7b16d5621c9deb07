"""The contract of `ports.Checkpoints` on the twin in memory, files and S3 (moto), and what only they can suffer."""

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from sentinel.adapters.aws import StaticCredentials
from sentinel.adapters.checkpoints import FileCheckpoints
from sentinel.adapters.in_memory import InMemoryCheckpoints
from sentinel.adapters.s3_checkpoints import PAGE, S3Checkpoints
from sentinel.clock import SystemClock
from sentinel.errors import Invalid, Unavailable
from sentinel.ports import Checkpoints
from sentinel.sandbox.moto_process import MotoProcess

PAIR = StaticCredentials(access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key="not-a-real-secret-key")


@dataclass(frozen=True)
class Bucket:
    """One that is emptied before each test."""

    url: str
    client: Any

    def put_raw(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket="shelves", Key=key, Body=content)

    def raw(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket="shelves", Key=key)["Body"].read())


@pytest.fixture(scope="module")
def moto() -> Iterator[Bucket]:
    """moto as its own process, with a bucket in it."""
    with MotoProcess(SystemClock()) as process:
        session = boto3.session.Session(PAIR.access_key_id, PAIR.secret_access_key, region_name="us-east-1")
        client = session.client("s3", endpoint_url=process.url)
        client.create_bucket(Bucket="shelves")
        yield Bucket(process.url, client)
        client.close()


@pytest.fixture
def bucket(moto: Bucket) -> Bucket:
    for each in moto.client.list_objects_v2(Bucket="shelves").get("Contents", ()):
        moto.client.delete_object(Bucket="shelves", Key=each["Key"])
    return moto


def in_bucket(bucket: Bucket, url: str = "s3://shelves/a/b") -> S3Checkpoints:
    return S3Checkpoints(url, "us-east-1", endpoint_url=bucket.url, credentials=PAIR)


@pytest.fixture(params=["memory", "files", "s3"])
def checkpoints(request: pytest.FixtureRequest, tmp_path: Path) -> Checkpoints:
    if request.param == "s3":
        return in_bucket(request.getfixturevalue("bucket"))
    return InMemoryCheckpoints() if request.param == "memory" else FileCheckpoints(tmp_path / "a" / "b")


class TestContract:
    def test_nothing_is_there_before_the_first_save(self, checkpoints: Checkpoints) -> None:
        assert checkpoints.load("detection-0") is None

    @pytest.mark.parametrize("blob", [b"", b"\0\xff\n", bytes(range(256)) * 20_000], ids=["empty", "binary", "5 MB"])
    def test_last_save_is_found_again(self, checkpoints: Checkpoints, blob: bytes) -> None:
        checkpoints.save("detection-0", b"before")
        checkpoints.save("detection-0", blob)
        assert checkpoints.load("detection-0") == blob

    def test_names_are_apart(self, checkpoints: Checkpoints) -> None:
        for name in ("a", "a.b", "a-b_0"):
            checkpoints.save(name, name.encode())
        assert [checkpoints.load(name) for name in ("a", "a.b", "a-b_0")] == [b"a", b"a.b", b"a-b_0"]

    def test_every_name_is_listed_once(self, checkpoints: Checkpoints) -> None:
        assert checkpoints.names() == frozenset()
        for name in ("a", "a.b", "a-b_0", "a"):
            checkpoints.save(name, b"x")
        assert checkpoints.names() == {"a", "a.b", "a-b_0"}

    @pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "../a", "A", "ü", "a\n", "a~", "x" * 101])
    def test_other_names_are_invalid(self, checkpoints: Checkpoints, name: str) -> None:
        with pytest.raises(Invalid, match="checkpoint name"):
            checkpoints.save(name, b"")
        with pytest.raises(Invalid, match="checkpoint name"):
            checkpoints.load(name)


@pytest.mark.parametrize("url", ["s3://shelves", "s3://shelves/", "s3://shelves/x", "s3://shelves/x/y/"])
def test_prefixes_are_apart(bucket: Bucket, url: str) -> None:
    in_bucket(bucket, "s3://shelves/x/y/z").save("other", b"other")
    mine = in_bucket(bucket, url)
    mine.save("mine", b"mine")
    assert mine.names() == {"mine"}
    assert in_bucket(bucket, url).load("mine") == b"mine"


def test_more_objects_than_one_answer_holds_are_all_listed(bucket: Bucket) -> None:
    for n in range(PAGE + 1):
        bucket.put_raw(f"a/b/n{n}", b"")
    assert len(in_bucket(bucket).names()) == PAGE + 1


def test_a_damaged_object_is_invalid(bucket: Bucket) -> None:
    kept = in_bucket(bucket)
    kept.save("x", b"blob")
    whole = bucket.raw("a/b/x")
    for damaged in (whole[:-1], b"", whole + b"x", whole[:-1] + b"!"):
        bucket.put_raw("a/b/x", damaged)
        with pytest.raises(Invalid, match=r"checkpoint s3://shelves/a/b/x: got"):
            kept.load("x")


def test_no_bucket_and_no_store_are_unavailable_and_say_so(bucket: Bucket) -> None:
    no_bucket = in_bucket(bucket, "s3://no-such-bucket/a")
    nobody = S3Checkpoints("s3://shelves", "us-east-1", endpoint_url="http://127.0.0.1:9", credentials=PAIR)
    for kept, why in ((no_bucket, "there is no bucket no-such-bucket"), (nobody, "cannot connect")):
        for act in (lambda kept=kept: kept.save("x", b""), lambda kept=kept: kept.load("x"), kept.names):
            with pytest.raises(Unavailable, match=why):
                act()


def test_another_process_finds_it(tmp_path: Path) -> None:
    FileCheckpoints(tmp_path).save("x", b"blob")
    assert FileCheckpoints(tmp_path).load("x") == b"blob"


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-1],
        lambda raw: raw[:30],
        lambda raw: b"",
        lambda raw: raw + b"x",
        lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]),
        lambda raw: raw.replace(b"checkpoint 1", b"checkpoint 2"),
    ],
    ids=["short", "only a header", "empty", "long", "one bit", "another version"],
)
def test_damaged_file_is_invalid(tmp_path: Path, damage) -> None:
    checkpoints = FileCheckpoints(tmp_path)
    checkpoints.save("x", b"blob")
    (tmp_path / "x").write_bytes(damage((tmp_path / "x").read_bytes()))
    with pytest.raises(Invalid, match=r"checkpoint .*x: got"):
        checkpoints.load("x")
    checkpoints.save("x", b"new")
    assert checkpoints.load("x") == b"new"


def test_save_that_fails_leaves_the_last_one(tmp_path: Path) -> None:
    checkpoints = FileCheckpoints(tmp_path)
    checkpoints.save("x", b"before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(Unavailable, match="cannot be written: File too large"):
            checkpoints.save("x", bytes(2 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoints.load("x") == b"before"
    assert os.listdir(tmp_path) == ["x"]


def test_place_that_is_no_directory_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot be created"):
        FileCheckpoints(tmp_path / "file" / "below")


def test_two_writers_never_mix(tmp_path: Path) -> None:
    blobs = [bytes([n]) * 300_000 for n in range(2)]

    def save(blob: bytes) -> None:
        mine = FileCheckpoints(tmp_path)
        for _ in range(15):
            try:
                mine.save("x", blob)
            except Unavailable:
                continue  # the other one saved meanwhile and swept this one's file away

    threads = [threading.Thread(target=save, args=(blob,)) for blob in blobs]
    FileCheckpoints(tmp_path).save("x", blobs[0])
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert FileCheckpoints(tmp_path).load("x") in blobs
    for thread in threads:
        thread.join()


_ROOT = Path(__file__).parents[2]
_SAVER = """
import sys
from sentinel.adapters.checkpoints import FileCheckpoints
checkpoints = FileCheckpoints(sys.argv[1])
n = 0
while True:
    checkpoints.save("x", n.to_bytes(8, "big") * 50_000)
    print(n, flush=True)
    n += 1
"""


def test_killed_while_saving(tmp_path: Path) -> None:
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", _SAVER, tmp_path], stdout=subprocess.PIPE, cwd=_ROOT) as saver:
            assert saver.stdout
            for _ in range(7):
                saved = saver.stdout.readline()
            saver.send_signal(signal.SIGKILL)
            saved = (saver.stdout.read().splitlines() or [saved])[-1]
        blob = FileCheckpoints(tmp_path).load("x")
        assert blob is not None
        assert blob == blob[:8] * 50_000
        assert int.from_bytes(blob[:8], "big") >= int(saved)
    FileCheckpoints(tmp_path).save("x", b"")
    assert os.listdir(tmp_path) == ["x"]
