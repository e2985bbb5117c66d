"""The name of a release: what decides it, and what does not."""

import string
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as some

from clinical_ai.manifests.release import IMAGE, LOCAL, content_hash

ROOT = Path(__file__).resolve().parent.parent.parent
_NAMES = some.text(some.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
_FILES = some.dictionaries(_NAMES, some.binary(max_size=12), min_size=1, max_size=5)


@given(_FILES, some.data())
def test_the_order_of_files_does_not_matter(files: dict[str, bytes], data: some.DataObject) -> None:
    shuffled = data.draw(some.permutations(list(files.items())))
    assert content_hash(shuffled, "3.11") == content_hash(files.items(), "3.11")


@given(_FILES, _FILES)
def test_different_files_have_different_names(one: dict[str, bytes], two: dict[str, bytes]) -> None:
    assume(one != two)
    assert content_hash(one.items(), "3.11") != content_hash(two.items(), "3.11")


@given(_FILES, some.data())
def test_a_renamed_file_is_another_release(files: dict[str, bytes], data: some.DataObject) -> None:
    old = data.draw(some.sampled_from(sorted(files)))
    new = data.draw(_NAMES.filter(lambda name: name not in files))
    moved = {new if name == old else name: content for name, content in files.items()}
    assert content_hash(moved.items(), "3") != content_hash(files.items(), "3")


@given(_FILES, some.text("3.0123456789/", min_size=1), some.text("3.0123456789/", min_size=1))
def test_another_interpreter_is_another_release(
    files: dict[str, bytes], one: str, other: str
) -> None:
    assume(one != other)
    assert content_hash(files.items(), one) != content_hash(files.items(), other)


@given(_FILES, some.text(max_size=5))
def test_a_name_is_short_and_plain(files: dict[str, bytes], python: str) -> None:
    name = content_hash(files.items(), python)
    assert len(name) == 12
    assert set(name) <= set(string.hexdigits.lower())


def test_what_moves_between_a_name_and_its_content_is_noticed() -> None:
    assert content_hash([("ab", b"c")], "3") != content_hash([("a", b"bc")], "3")
    assert content_hash([("a", b""), ("b", b"")], "3") != content_hash([("a", b"\0b\0")], "3")


@pytest.mark.parametrize("pattern", sorted({*LOCAL, *IMAGE}))
def test_every_pattern_finds_something_in_this_repository(pattern: str) -> None:
    assert next(ROOT.glob(pattern), None) is not None


def test_tests_documents_and_demonstration_are_no_part_of_a_release() -> None:
    tops = {pattern.split("/")[0] for pattern in (*LOCAL, *IMAGE)}
    assert not tops & {"tests", "docs", "demonstration", "benchmarks", "README.md"}
