"""Which cases have no meaning for the asyncio face, and why."""

from __future__ import annotations

from typing import Final

from juham_core.testing.definition import Case

ASYNCIO: Final = "asyncio"

_AGAINST: Final = {
    "AsyncMqtt.connect raises when the first attempt fails, and leaves it to its caller to try again": """
        connect.no_connack_then_again failover.runs_out""",
    "AsyncMqtt.connect raises if the connection has ended before it returns, and tells no handler": """
        connect.endless_connacks failover.short_lived connect.refusal_in_on_connect""",
    "the handlers of AsyncMqtt run from the connection to its end: nobody starts or stops their loop": """
        handlers.not_before_loop handlers.loop_stop handlers.loop_forever lifecycle.no_loop
        lifecycle.loop_stop lifecycle.loop_stop_in_handler lifecycle.loop_forever
        lifecycle.loop_forever_ended reconnect.replay_before_handlers""",
    "a hundred thousand calls or more, each of which waits for another thread: it takes minutes": """
        publish.ids_not_reused endurance.qos_0 endurance.stalled_qos_0 endurance.stalled_qos_1""",
    "asyncio lets what ends a program through to it": "handlers.system_exit",
    "AsyncMqtt.subscribe is all or nothing": "subscribe.refused_partly mqtt5.subscriptions_unavailable",
    "an AsyncMqtt is connected by the one loop to which it belongs": "lifecycle.connect_by_threads",
}
"""Reasons, and the cases that each stands for."""


def reason_against(case: Case) -> str:
    """Why a case is not tried through the asyncio face; empty if it is."""
    if case.subject == "inline":
        return "the handlers of AsyncMqtt run in the event loop, whatever the option handlers says"
    if case.level == "packaging":
        return "a backend's distribution and class are the same through asyncio"
    return next((why for why, cases in _AGAINST.items() if case.id in cases.split()), "")
