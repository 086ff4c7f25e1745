"""vse.search.index: exact cosine search against float64 loops, ties, files that survive or are refused, combine."""

import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from vse.search import index as index_module
from vse.search.index import Index, combine
from vse.system.errors import InputError


def unit(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    rows = rng.normal(size=(n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def names_of(n: int) -> list[str]:
    return [f"item {i}" for i in range(n)]


def brute_force(vectors: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    scores = np.array([[np.dot(q.astype(float), v.astype(float)) for v in vectors] for q in queries])
    scores = scores.astype(np.float32)
    ids = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, ids, axis=1), ids


@pytest.mark.parametrize(("n", "q", "d", "k"), [(1, 1, 1, 1), (7, 3, 5, 7), (99, 40, 16, 9), (500, 2, 99, 5)])
def test_top_is_brute_force(n, q, d, k):
    rng = np.random.default_rng(n)
    vectors, queries = unit(rng, n, d), unit(rng, q, d)
    scores, ids = Index(vectors, names_of(n)).top(queries, k)
    expected_scores, expected_ids = brute_force(vectors, queries, k)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-7)
    assert scores.dtype == np.float32 and ids.dtype == np.int64


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=120),
    st.lists(st.integers(0, 2), min_size=1, max_size=40),
    st.data(),
)
def test_ties_go_to_the_lower_id(items, asked, data):
    # Three different vectors shared by many items: nearly every place is a tie, at the k-th place too.
    k = data.draw(st.integers(1, len(items)))
    kinds = np.eye(3, dtype=np.float32)
    _, ids = Index(kinds[items], names_of(len(items))).top(kinds[asked], k)
    np.testing.assert_array_equal(ids, brute_force(kinds[items], kinds[asked], k)[1])


def test_a_collapsed_model_gets_ids_in_order():
    vectors = np.repeat(unit(np.random.default_rng(0), 1, 300), 1000, axis=0)
    scores, ids = Index(vectors, names_of(1000)).top(vectors[:300], 5)
    assert (ids == np.arange(5)).all() and np.unique(scores).size == 1


def test_an_answer_does_not_depend_on_the_other_queries():
    rng = np.random.default_rng(5)
    vectors, queries = unit(rng, 200, 64), unit(rng, 60, 64)
    vectors[100:] = vectors[:100]
    index = Index(vectors, names_of(200))
    together = index.top(queries, 9)
    for i in range(60):
        for alone, all_of_them in zip(index.top(queries[i : i + 1], 9), together, strict=True):
            np.testing.assert_array_equal(alone[0], all_of_them[i])


@pytest.mark.parametrize("k", [0, -1, 4])
def test_k_outside_the_index(k):
    with pytest.raises(InputError, match="expected 1 to 3"):
        Index(np.eye(3, dtype=np.float32), names_of(3)).top(np.eye(3, dtype=np.float32), k)


def test_other_dimension():
    with pytest.raises(InputError, match="4 dimensions, the index 3"):
        Index(np.eye(3, dtype=np.float32), names_of(3)).top(np.eye(4, dtype=np.float32), 1)


def test_rows_that_are_no_unit_vectors():
    good = np.eye(3, dtype=np.float32)
    for value in (2.0, 0.0, np.nan, np.inf):
        bad = good.copy()
        bad[1, 1] = value
        with pytest.raises(InputError, match="vector 1 .1 in all. has norm"):
            Index(bad, names_of(3))
        with pytest.raises(InputError, match="query 1"):
            Index(good, names_of(3)).top(bad, 1)


def test_counts_must_agree():
    for names, labels in ((names_of(2), ()), (names_of(3), ("a",))):
        with pytest.raises(InputError, match="3 vectors"):
            Index(np.eye(3, dtype=np.float32), names, labels)
    with pytest.raises(InputError, match="at least one"):
        Index(np.empty((0, 3), np.float32), ())


def test_saved_and_loaded_is_the_same(tmp_path):
    rng = np.random.default_rng(1)
    vectors, queries = unit(rng, 50, 8), unit(rng, 4, 8)
    names = [f"naïve “{i}”\nsecond line \udcff" for i in range(50)]
    index = Index(vectors, names, [f"label {i}" for i in range(50)])
    index.save(tmp_path / "deep" / "folder")
    again = Index.load(tmp_path / "deep" / "folder")
    assert (again.names, again.labels) == (index.names, index.labels)
    np.testing.assert_array_equal(again.vectors, vectors)
    for old, new in zip(index.top(queries, 5), again.top(queries, 5), strict=True):
        np.testing.assert_array_equal(old, new)
    assert [p.name for p in (tmp_path / "deep" / "folder").iterdir()] == ["index.safetensors"]


def test_the_copy_of_the_vectors_is_a_copy():
    index = Index(np.eye(3, dtype=np.float32), names_of(3))
    index.vectors[:] = 0
    np.testing.assert_array_equal(index.vectors, np.eye(3))


def written(about: dict, vectors: np.ndarray, items: object) -> bytes:
    """A file of an index with whatever in it, its checksum right."""
    text = items if isinstance(items, bytes) else json.dumps(items).encode()
    told = {"version": "2", "sha256": index_module._checksum(vectors, text)} | about
    return save({"vectors": vectors, "items": np.frombuffer(text, np.uint8)}, told)


def test_anything_else_is_refused_with_one_line(tmp_path):
    Index(np.eye(3, dtype=np.float32), names_of(3)).save(tmp_path)
    file = tmp_path / "index.safetensors"
    whole, eye = file.read_bytes(), np.eye(3, dtype=np.float32)
    items = {"names": names_of(3), "labels": []}
    assert file.write_bytes(written({}, eye, items)) and Index.load(tmp_path).names == tuple(names_of(3))
    swapped = whole.replace(b"item 0", b"item 9").replace(b"item 1", b"item 0").replace(b"item 9", b"item 1")
    spoiled = [b"", b"null", b"\xff" * 99, whole[:-9], whole[:-1] + b"x", swapped, whole.replace(b"\x80?", b"\x80@", 1)]
    spoiled += [written({"version": "1"}, eye, items), written({"version": "99"}, eye, items), written({}, eye, b"[1]")]
    spoiled += [written({}, eye, items | {"names": ["a"]}), written({}, eye, items | {"names": [1, 2, 3]})]
    spoiled += [written({}, eye, items | {"names": None}), written({}, eye, b"[" * 9999)]
    spoiled += [written({}, eye * np.nan, items)]
    spoiled += [written({}, eye.astype(np.float64), items), written({}, eye[0], items), written({}, eye[:0], items)]
    for content in spoiled:
        file.write_bytes(content)
        with pytest.raises(InputError, match="not a saved index|norm|at least one|names") as caught:
            Index.load(tmp_path)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="not a saved index") as caught:
        Index.load(tmp_path / "absent")
    assert str(tmp_path / "absent") in str(caught.value)


def test_a_save_cut_off_leaves_the_old_index(tmp_path, monkeypatch):
    Index(np.eye(3, dtype=np.float32), names_of(3)).save(tmp_path)

    def full_disk(source, target):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(InputError, match="No space"):
        patch.setattr(os, "replace", full_disk)
        Index(np.eye(4, dtype=np.float32), names_of(4)).save(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["index.safetensors"]
    assert Index.load(tmp_path).names == tuple(names_of(3))


def test_combine_is_the_scaled_sum():
    rng = np.random.default_rng(2)
    vectors, weights = unit(rng, 4, 6), np.array([1.0, -1.0, 1.0, 0.25])
    total = sum(w * v.astype(float) for w, v in zip(weights, vectors, strict=True))
    np.testing.assert_allclose(combine(vectors, weights), total / np.sqrt((total**2).sum()), atol=1e-7)
    # Only the direction counts, and one vector alone is itself.
    np.testing.assert_allclose(combine(vectors, 7 * weights), combine(vectors, weights), atol=1e-7)
    np.testing.assert_allclose(combine(vectors[:1], np.array([3.0])), vectors[0], atol=1e-7)


def test_blue_car_minus_blue_plus_red_is_a_red_car():
    car, blue, red = np.eye(3, dtype=np.float32)
    things = [combine(np.stack(pair), np.ones(2)) for pair in ((car, blue), (car, red), (blue, red))]
    query = combine(np.stack([things[0], blue, red]), np.array([1.0, -0.7, 0.7]))
    _, ids = Index(np.stack(things), ["blue car", "red car", "no car"]).top(query[None], 1)
    assert ids[0, 0] == 1


def test_vectors_that_cancel():
    row = unit(np.random.default_rng(3), 1, 300)
    for vectors, weights in (
        (np.vstack([row, row]), [1.0, -1.0]),
        (np.vstack([row, row, row]), [0.1, 0.2, -0.3]),
        (np.vstack([row, row]), [0.0, 0.0]),
        (row, [np.nan]),
    ):
        with pytest.raises(InputError, match="cancel to zero"):
            combine(vectors, np.array(weights))


def test_penalties_are_taken_from_the_scores():
    rng = np.random.default_rng(3)
    vectors, queries, penalties = unit(rng, 200, 16), unit(rng, 5, 16), rng.random(200).astype(np.float32)
    scores, ids = Index(vectors, names_of(200), penalties=penalties).top(queries, 7)
    expected = (queries.astype(float) @ vectors.T.astype(float)) - penalties
    np.testing.assert_array_equal(ids, np.argsort(-expected, axis=1, kind="stable")[:, :7])
    np.testing.assert_allclose(scores, np.take_along_axis(expected, ids, axis=1), atol=1e-7)
    plain = Index(vectors, names_of(200))
    for ours, theirs in zip(plain.penalized(np.zeros(200)).top(queries, 7), plain.top(queries, 7), strict=True):
        np.testing.assert_array_equal(ours, theirs)
