"""The kit's cases: none may hide another, and an author may override one."""

import pytest

from juham_core.testing import asyncio_cases, case, catalogue
from juham_core.testing.definition import cases_of


class First:
    @case("publish.same_method")
    def same(self, kit):
        """A rule."""


class Second:
    @case("subscribe.same_method")
    def same(self, kit):
        """Another rule."""


def names(suite):
    return {each.id for each in cases_of(suite)}


def test_methods_of_one_name_do_not_hide_each_other():
    class Suite(First, Second):
        pass

    assert names(Suite) == {"publish.same_method", "subscribe.same_method"}


def test_a_derived_class_overrides_a_case():
    class Mine(First):
        @case("publish.same_method")
        def same(self, kit):
            """A stricter rule."""

    class Without(First):
        same = None

    assert [each.rule for each in cases_of(Mine)] == ["A stricter rule."]
    assert names(Without) == set()


def test_two_cases_of_one_identifier_are_refused():
    class Third:
        @case("publish.same_method")
        def other(self, kit):
            """The same identifier."""

    class Suite(First, Third):
        pass

    with pytest.raises(ValueError, match=r"publish\.same_method"):
        cases_of(Suite)


def test_what_is_not_tried_through_asyncio_is_a_case():
    known = {case.id for case in catalogue()}
    named = " ".join(asyncio_cases.AGAINST.values()).split()
    assert set(named) <= known
    assert len(named) == len(set(named))
