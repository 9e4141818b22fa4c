"""Which cases have no meaning for the asyncio face, and why."""

from __future__ import annotations

from typing import Final

from juham_core.testing.definition import Case

ASYNCIO: Final = "asyncio"

_AGAINST: Final = {
    "every call of AsyncMqtt needs a connection, and says so first": """
        publish.payload_wrong_type publish.qos_refused subscribe.qos_refused mqtt5.not_in_311
        publish.offline_in_order publish.queue_full subscribe.before_connecting threads.before_connecting
        subscribe.bounded_offline lifecycle.reused mqtt5.maximum_qos
        outbox.kept_until_puback outbox.kept_until_pubcomp outbox.in_order outbox.expiry outbox.bounded
        outbox.full_disk outbox.damaged outbox.one_at_a_time outbox.private outbox.published_for_all""",
    "AsyncMqtt.connect gives up when its first attempt fails": """
        connect.no_connack_then_again connect.closed_without_connack connect.reset_without_connack
        connect.http_peer connect.cut_connack connect.endless_connacks connect.refused_busy
        connect.refused_unavailable
        failover.mute failover.short_lived""",
    "the handlers of AsyncMqtt run from the connection to its end, in the event loop": """
        handlers.not_before_loop handlers.loop_stop handlers.loop_forever lifecycle.no_loop
        lifecycle.loop_stop lifecycle.loop_stop_in_handler lifecycle.loop_forever
        lifecycle.loop_forever_ended reconnect.replay_before_handlers connect.refusal_in_on_connect""",
    "of tens of thousands of calls each would wait for another thread: it takes minutes": """
        publish.ids_not_reused endurance.qos_0 endurance.qos_1 endurance.qos_2 endurance.subscriptions""",
    "asyncio lets what ends a program through to it": "handlers.system_exit",
    "AsyncMqtt.subscribe is all or nothing": "subscribe.refused_partly mqtt5.subscriptions_unavailable",
    "an AsyncMqtt is connected by the one loop to which it belongs": "lifecycle.connect_by_threads",
    "a program of its own, which does not use this face": """
        reconnect.will_after_crash outbox.killed_qos_1 outbox.killed_qos_2 outbox.killed_session
        outbox.goes_on_at_pubrec outbox.goes_on_at_pubcomp endurance.stalled_qos_0 endurance.stalled_qos_1""",
}
"""Reasons, and the cases that each stands for."""


def reason_against(case: Case) -> str:
    """Why a case is not tried through the asyncio face; empty if it is."""
    if case.subject == "inline":
        return "the handlers of AsyncMqtt run in the event loop, whatever the option handlers says"
    if case.level == "packaging":
        return "a backend's distribution and class are the same through asyncio"
    return next((why for why, cases in _AGAINST.items() if case.id in cases.split()), "")
