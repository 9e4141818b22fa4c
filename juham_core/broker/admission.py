"""Whether a CONNECT is let in, and what the CONNACK that lets it in says (MQTT 5 sections 3.1 and 3.2)."""

from __future__ import annotations

import hmac
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from juham_core.broker.limits import Limits
from juham_core.errors import TopicError
from juham_core.topics import check_topic
from juham_core.wire import reasons
from juham_core.wire.packets import MQTT_5, MQTT_311, Connect, Will
from juham_core.wire.properties import Properties

NEVER: int = 0xFFFF_FFFF
"""The session expiry interval of a session that does not expire (section 3.1.2.11.2)."""


@dataclass(frozen=True)
class Admission:
    """Who may connect: those with a name and password among ``users``, whom ``authenticate`` lets in too.

    Where one of the two is None, it lets everybody in. ``authenticate`` returns a CONNACK reason code.
    """

    users: Mapping[str, str] | None
    authenticate: Callable[[Connect], int] | None

    def check(self, connect: Connect) -> int:
        """The reason code to answer with: SUCCESS or why not."""
        if connect.protocol not in (MQTT_311, MQTT_5):
            return reasons.UNSUPPORTED_PROTOCOL_VERSION
        properties = connect.properties
        if "authentication_method" in properties:
            return reasons.BAD_AUTHENTICATION_METHOD
        if properties.get("receive_maximum") == 0 or properties.get("maximum_packet_size") == 0:
            return reasons.PROTOCOL_ERROR
        if not connect.client_id and not connect.clean_start and connect.protocol == MQTT_311:
            return reasons.CLIENT_IDENTIFIER_NOT_VALID
        if connect.will is not None and (refused := _check_will(connect.will)):
            return refused
        return self._check_user(connect) or (self.authenticate(connect) if self.authenticate else 0)

    def _check_user(self, connect: Connect) -> int:
        if self.users is None:
            return reasons.SUCCESS
        if connect.username is None:
            return reasons.NOT_AUTHORIZED
        # An unknown user takes as long as a wrong password.
        expected = self.users.get(connect.username, "")
        equal = hmac.compare_digest(expected.encode(), connect.password or b"")
        known = connect.username in self.users
        return reasons.SUCCESS if equal and known else reasons.BAD_USER_NAME_OR_PASSWORD


def _check_will(will: Will) -> int:
    if will.qos not in (0, 1, 2):
        return reasons.QOS_NOT_SUPPORTED
    try:
        check_topic(will.topic)
    except TopicError:
        return reasons.TOPIC_NAME_INVALID
    return reasons.SUCCESS


def session_expiry(connect: Connect, limits: Limits) -> float:
    """How many seconds the session outlives its connection; math.inf for as long as the broker lives."""
    if connect.protocol == MQTT_5:
        return allowed_expiry(connect.properties.get("session_expiry_interval", 0), limits)
    return allowed_expiry(0 if connect.clean_start else NEVER, limits)


def allowed_expiry(interval: int, limits: Limits) -> float:
    """A session expiry interval as far as the broker's limits allow it."""
    asked = math.inf if interval == NEVER else float(interval)
    return asked if limits.max_session_expiry is None else min(asked, limits.max_session_expiry)


def connack_properties(connect: Connect, client_id: str, limits: Limits) -> Properties:
    """What the broker decided otherwise than the client would assume (section 3.2.2.3)."""
    properties = Properties()
    if connect.protocol != MQTT_5:
        return properties
    if client_id != connect.client_id:
        properties["assigned_client_identifier"] = client_id
    if limits.receive_maximum != 65_535:
        properties["receive_maximum"] = limits.receive_maximum
    if limits.topic_alias_maximum:
        properties["topic_alias_maximum"] = limits.topic_alias_maximum
    if limits.max_packet_size is not None:
        properties["maximum_packet_size"] = limits.max_packet_size
    asked = connect.properties.get("session_expiry_interval", 0)
    if limits.max_session_expiry is not None and asked > limits.max_session_expiry:
        properties["session_expiry_interval"] = limits.max_session_expiry
    if is_keepalive_forced(connect, limits):
        properties["server_keep_alive"] = limits.max_keepalive
    return properties


def is_keepalive_forced(connect: Connect, limits: Limits) -> bool:
    """Whether the client's keepalive is longer than the broker allows; MQTT 3.1.1 cannot tell it so."""
    maximum = limits.max_keepalive
    return connect.protocol == MQTT_5 and maximum is not None and not 0 < connect.keepalive <= maximum
