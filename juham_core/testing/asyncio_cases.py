"""Which cases have no meaning for the asyncio face, and why."""

from __future__ import annotations

from typing import Final

from juham_core.testing.definition import Case

ASYNCIO: Final = "asyncio"

AGAINST: Final = {
    "the event loop runs already: loop_forever of the client of an AsyncMqtt raises NotSupportedError": """
        handlers.loop_forever lifecycle.loop_forever lifecycle.loop_forever_ended inline.loop_forever""",
    "the handlers of AsyncMqtt run in the event loop, whichever thread has brought the message": """
        inline.where_it_came""",
    "a distribution, its class, and what that makes and copies are the same through asyncio": """
        packaging.entry_point packaging.distribution packaging.library packaging.typed packaging.class_id
        packaging.contract_version packaging.capabilities packaging.complete packaging.documented
        packaging.constructor packaging.create packaging.saved packaging.copied packaging.defaults""",
}
"""Reasons, and the cases that each stands for."""


def reason_against(case: Case) -> str:
    """Why a case is not tried through the asyncio face; empty if it is."""
    return next((why for why, cases in AGAINST.items() if case.id in cases.split()), "")
