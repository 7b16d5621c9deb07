"""A text model in the memory: its vectors take the words' place, it is on record, and what is missing is named."""

import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from sentinel import settings
from sentinel.adapters.qdrant import QdrantMemory, open_memory
from sentinel.adapters.qdrant_embedded import open_embedded
from sentinel.adapters.qdrant_points import EMBEDDER
from sentinel.adapters.text_fastembed import open_text
from sentinel.adapters.worded_memory import WordedMemory
from sentinel.correlation.signature import Vector, vectors
from sentinel.errors import Unavailable
from sentinel.ports import Memory
from tests.contract.memories import ids_of, memory_of
from tests.contract.tiny_model import DIMENSIONS, MODEL, write_tiny_model
from tests.unit.correlation.make import alert

needs_fastembed = pytest.mark.skipif(
    importlib.util.find_spec("fastembed") is None, reason="fastembed is not installed: pip install '.[text]'"
)


class Letters:
    """How often each vowel comes, as a vector."""

    def __init__(self, version: str = "1") -> None:
        self.made_by: Mapping[str, str | int] = {"text": 5, "text_model": "letters", "text_version": version}

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        counts = [np.array([text.count(vowel) for vowel in "aeiou"], dtype=np.float32) for text in texts]
        return [count / np.float32(np.linalg.norm(count)) for count in counts]


def told(n: int, words: str) -> Memory:
    memory = memory_of(n)
    return replace(memory, vectors=replace(memory.vectors, words=words))


@pytest.fixture
def worded(tmp_path: Path) -> Iterator[WordedMemory]:
    text = Letters()
    memory = WordedMemory(QdrantMemory.embedded(tmp_path, embedder={**EMBEDDER, **text.made_by}), text)
    yield memory
    memory.close()


def test_the_words_of_alerts_are_kept_beside_their_vectors() -> None:
    loud = alert("payments", "cpuUsage99", score=20.0)
    made = vectors([alert("checkout", "latency", score=7.0), loud], "payments")
    first, second = made.words.split(". ")
    assert first.startswith("payments cpu #")
    assert second.startswith("checkout request latency")


def test_what_is_remembered_is_found_by_the_model_and_not_by_the_hashed_words(worded: WordedMemory) -> None:
    worded.remember([told(1, "aaa"), told(2, "eee")])
    asked = told(3, "eae e").vectors
    found = worded.similar(asked, 2)
    assert ids_of(found) == ["2", "1"]
    (like, unlike) = (0.2 + 0.2 * share / 10**0.5 for share in (3, 1))
    assert [each.similarity for each in found] == pytest.approx([like, unlike], abs=1e-5)
    assert found[0].memory.vectors.text.shape == (5,)
    assert list(worded.held().values()) == [3, 3]
    assert worded.note == ""


def test_more_than_one_batch_is_remembered(worded: WordedMemory) -> None:
    worded.remember([told(n, "aeiou") for n in range(205)])
    assert len(worded.held()) == 205
    worded.start_over()
    assert worded.held() == {}


@pytest.mark.parametrize("now", [Letters("2"), None], ids=["another version", "no model any more"])
def test_with_another_model_the_collection_is_made_anew(tmp_path: Path, now: Letters | None) -> None:
    def opened(text: Letters | None) -> QdrantMemory:
        return QdrantMemory.embedded(tmp_path, embedder={**EMBEDDER, **(text.made_by if text else {})})

    before = opened(Letters())
    WordedMemory(before, Letters()).remember([told(1, "a")])
    before.close()
    same = opened(Letters())
    assert len(same.held()) == 1
    same.close()
    other = opened(now)
    assert other.held() == {}  # whoever has the journal fills it again
    other.close()


def test_a_model_without_the_extra_is_named_and_nothing_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fastembed", None)
    with pytest.raises(Unavailable, match=r"needs fastembed: pip install 'sentinel-aiops\[text\]'"):
        open_memory(settings.Qdrant(path=str(tmp_path / "qdrant"), text_model=MODEL))
    assert not (tmp_path / "qdrant").exists()


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"qdrant\.text_model_path .*nowhere is no directory"):
        open_text(MODEL, str(tmp_path / "nowhere"))


def test_files_without_a_model_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"name it in qdrant\.text_model"):
        settings.Qdrant(text_model_path="/models")


@needs_fastembed
def test_fastembed_reads_a_model_from_a_directory(tmp_path: Path) -> None:
    text = open_text(MODEL, str(write_tiny_model(tmp_path / "one")))
    same, turned, other = text.embed(["payments latency up", "up payments latency", "checkout cpu down"])
    assert same.dtype == np.float32
    assert np.linalg.norm(same) == pytest.approx(1, abs=1e-6)
    assert same @ turned == pytest.approx(1, abs=1e-6)
    assert same @ other < 0.9
    assert text.embed([]) == []
    assert text.made_by["text"] == DIMENSIONS
    assert text.made_by["text_model"] == MODEL
    again = open_text(MODEL, str(write_tiny_model(tmp_path / "two")))
    assert again.made_by == text.made_by
    changed = open_text(MODEL, str(write_tiny_model(tmp_path / "two", seed=2)))
    assert changed.made_by["text_version"] != text.made_by["text_version"]


@needs_fastembed
def test_fastembed_in_the_memory_that_the_settings_name(tmp_path: Path) -> None:
    named = settings.Qdrant(
        path=str(tmp_path / "qdrant"), text_model=MODEL, text_model_path=str(write_tiny_model(tmp_path / "model"))
    )
    memory = open_memory(named)
    memory.remember([told(1, "payments latency up"), told(2, "checkout cpu down")])
    assert ids_of(memory.similar(told(3, "latency up").vectors, 2)) == ["1", "2"]
    memory.close()
    client = open_embedded(tmp_path / "qdrant")
    made_by = client.get_collection(named.collection).config.metadata or {}
    client.close()
    assert {"text": DIMENSIONS, "text_model": MODEL}.items() <= made_by.items()


@needs_fastembed
@pytest.mark.parametrize("model", [MODEL, "nobody/knows-this"])
def test_a_directory_without_the_model_is_said_to_be_so(tmp_path: Path, model: str) -> None:
    with pytest.raises(Unavailable, match=r"cannot be loaded from .*its ONNX and tokenizer files"):
        open_text(model, str(tmp_path))
