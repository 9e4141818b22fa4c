"""Topic names and filters: what is valid, what matches, and the tree that finds the matching."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from juham_core.errors import TopicError
from juham_core.filtertree import FilterTree
from juham_core.topics import check_filter, check_topic, matches, overlap, split_share

LEVELS = st.sampled_from(["", "a", "b", "$x", "ab"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(bool)
FILTERS = (
    st.tuples(st.lists(st.one_of(LEVELS, st.just("+")), min_size=1, max_size=4), st.booleans())
    .map(lambda parts: "/".join([*parts[0], *(["#"] if parts[1] else [])]))
    .filter(bool)
)


def matches_by_expression(topic_filter, topic):
    """Section 4.7 put another way: as a regular expression."""
    if topic.startswith("$") and topic_filter[0] in "+#":
        return False
    pattern = "/".join("[^/]*" if level == "+" else re.escape(level) for level in topic_filter.split("/"))
    if topic_filter == "#":
        pattern = ".*"
    elif topic_filter.endswith("/#"):
        pattern = pattern.removesuffix(re.escape("/#")).removesuffix("/\\#") + "(/.*)?"
    return re.fullmatch(pattern, topic) is not None


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/b/c", "a/b", False),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/#", "ab", False),
        ("a/+", "a", False),
        ("a/+", "a/", True),
        ("+/+", "/a", True),
        ("+", "/a", False),
        ("/+", "/a", True),
        ("#", "a/b", True),
        ("#", "$SYS/a", False),
        ("+/a", "$SYS/a", False),
        ("$SYS/#", "$SYS/a", True),
        ("$SYS/+", "$SYS/a", True),
        ("a/+/#", "a/b", True),
        ("a/+/#", "a", False),
        ("$share/group/a/+", "a/b", True),
        ("$share/group/#", "$SYS/a", False),
    ],
)
def test_matching(topic_filter, topic, expected):
    assert matches(topic_filter, topic) is expected
    tree = FilterTree()
    tree.add(split_share(topic_filter)[1], 1)
    assert tree.match(topic) == ([1] if expected else [])


@given(FILTERS, TOPICS)
def test_matching_is_what_section_4_7_says(topic_filter, topic):
    assert matches(topic_filter, topic) == matches_by_expression(topic_filter, topic)


@given(st.lists(FILTERS, max_size=12), TOPICS)
def test_the_tree_finds_what_matches_and_no_more(filters, topic):
    tree = FilterTree()
    for topic_filter in filters:
        tree.add(topic_filter, topic_filter)
    assert sorted(tree.match(topic)) == sorted({each for each in filters if matches(each, topic)})


@given(st.lists(st.tuples(FILTERS, st.integers(0, 2)), max_size=12))
def test_the_tree_gives_back_what_was_put_in_and_is_empty_at_the_end(entries):
    tree = FilterTree()
    for topic_filter, value in entries:
        tree.add(topic_filter, value)
    assert sorted(tree) == sorted(set(entries))
    for topic_filter, value in set(entries):
        assert value in tree.get(topic_filter)
        assert tree.remove(topic_filter, value)
        assert value not in tree.get(topic_filter)
        assert not tree.remove(topic_filter, value)
    assert not tree
    assert list(tree) == []


@given(st.lists(st.tuples(st.booleans(), FILTERS, st.integers(0, 1)), max_size=30), TOPICS)
def test_the_tree_holds_what_was_added_and_not_removed_in_whatever_order(steps, topic):
    tree, model = FilterTree(), set()
    for adding, topic_filter, value in steps:
        if adding:
            tree.add(topic_filter, (topic_filter, value))
            model.add((topic_filter, value))
        else:
            assert tree.remove(topic_filter, (topic_filter, value)) is ((topic_filter, value) in model)
            model.discard((topic_filter, value))
        assert sorted(held for _, held in tree) == sorted(model)
    assert sorted(tree.match(topic)) == sorted(held for held in model if matches(held[0], topic))
    assert bool(tree) is bool(model)


def test_a_level_that_is_free_again_is_taken_once():
    tree = FilterTree()
    for topic_filter in ("x/a", "x/b", "x/b/c"):
        tree.add(topic_filter, topic_filter)
        tree.remove("x/a")
    assert sorted(tree) == [("x/b", "x/b"), ("x/b/c", "x/b/c")]
    assert tree.remove("x/b/c")
    assert tree.remove("x/b")
    assert not tree


def test_a_value_of_two_filters_is_found_once():
    tree = FilterTree()
    tree.add("a/+", "same")
    tree.add("a/#", "same")
    tree.add("a/b", "other")
    assert sorted(tree.match("a/b")) == ["other", "same"]


def test_removing_all_values_of_a_filter():
    tree = FilterTree()
    tree.add("a/b", 1)
    tree.add("a/b", 2)
    tree.add("a", 3)
    assert tree.remove("a/b")
    assert not tree.remove("a/b")
    assert not tree.remove("x")
    assert tree.get("a/b") == []
    assert tree.match("a") == [3]


def test_a_reader_keeps_what_it_found_while_the_tree_changes():
    tree = FilterTree()
    tree.add("a", 1)
    found = tree.match("a")
    tree.add("a", 2)
    tree.remove("a", 1)
    assert found == [1]


@pytest.mark.parametrize("topic", ["a", "/", "a b", "é" * 32_767, "$SYS/x", "￿", " "])
def test_valid_topics(topic):
    assert check_topic(topic) is topic


@pytest.mark.parametrize("topic", ["", "a#", "+", "a\0", "é" * 32_768, "\udc80", b"a", None, 1])
def test_invalid_topics(topic):
    with pytest.raises(TopicError) as caught:
        check_topic(topic)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("topic_filter", ["#", "+", "a/+/b/#", "/", "$share/g/a/#", "$share/g//", "$share"])
def test_valid_filters(topic_filter):
    assert check_filter(topic_filter) is topic_filter


@pytest.mark.parametrize(
    "topic_filter",
    [
        *("", "#/a", "a#", "a/b#", "+a", "a+/b", "a\0", "\udc80", None, 1, "x" * 65_536),
        *("$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/#/a", "$share/g/a#"),
    ],
)
def test_invalid_filters(topic_filter):
    with pytest.raises(TopicError):
        check_filter(topic_filter)


def test_a_shared_filter_is_split():
    assert split_share("$share/group/a/+/#") == ("group", "a/+/#")
    assert split_share("a/b") == (None, "a/b")


def test_filters_overlap_if_a_topic_matches_both():
    def texts(levels, most):
        for count in range(1, most + 1):
            yield from ("/".join(each) for each in itertools.product(levels, repeat=count))

    topics = list(texts(("a", "b", "$x"), 4))
    plain = list(texts(("a", "$x", "+"), 3))
    filters = [*plain, *(f"{each}/#" for each in plain), "#"]
    matched = {each: {topic for topic in topics if matches(each, topic)} for each in filters}
    for one, other in itertools.combinations_with_replacement(filters, 2):
        expected = bool(matched[one] & matched[other])
        assert (overlap(one, other), overlap(other, one)) == (expected, expected), (one, other)


@given(st.lists(FILTERS, max_size=5), FILTERS)
def test_the_tree_knows_which_filters_overlap(held, topic_filter):
    tree = FilterTree()
    for each in held:
        tree.add(each, each)
    assert tree.overlaps(topic_filter) == any(overlap(topic_filter, each) for each in held)


@given(st.lists(FILTERS, min_size=1, max_size=5), FILTERS)
def test_the_tree_knows_so_when_filters_are_gone(held, topic_filter):
    tree = FilterTree()
    for each in held:
        tree.add(each, each)
    for each in held[1:]:
        tree.remove(each)
    kept = [each for each in held if each not in held[1:]]
    assert tree.overlaps(topic_filter) == any(overlap(topic_filter, each) for each in kept)
