"""paho's words for setting a client up, the ones every MQTT programmer knows, for every backend."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from typing import Any

from juham_core.errors import OptionError, PayloadError
from juham_core.message import check_qos, encode_payload
from juham_core.options import Options
from juham_core.topics import check_topic
from juham_core.wire.properties import Properties
from juham_core.wire.terms import Will


class Vocabulary:
    """Each of these changes the client's options; they take effect with the next connection."""

    options: Options

    def configure(self, **options: Any) -> None:
        """Change connection options by name; see :class:`~juham_core.options.Options` for all of them.

        Raises OptionError for one that is unknown or invalid, NotSupportedError for one the backend lacks.
        """
        self.options = self.options.changed(**options)

    def username_pw_set(self, username: str | None, password: str | bytes | None = None) -> None:
        """Set the user name and password to connect with; None for none (MQTT 5 section 3.1.3.5)."""
        self.configure(username=username, password=password)

    def will_set(
        self,
        topic: str,
        payload: Any = None,
        qos: int = 0,
        retain: bool = False,
        properties: Mapping[str, Any] | None = None,
    ) -> None:
        """Set the message the broker publishes if this client vanishes (MQTT 5 section 3.1.2.5).

        Raises TopicError, PayloadError or QosError. ``properties`` need MQTT 5.
        """
        payload = encode_payload(payload)
        if len(payload) > 0xFFFF:
            raise PayloadError(f"the payload of a will has at most 65,535 bytes, not {len(payload):,}")
        will = Will(check_topic(topic), payload, check_qos(qos), bool(retain), Properties(properties))
        will.properties.check_sendable("will")
        self.configure(will=will)

    def will_clear(self) -> None:
        """Take the will back."""
        self.configure(will=None)

    def tls_set(
        self,
        ca_certs: str | None = None,
        certfile: str | None = None,
        keyfile: str | None = None,
        cert_reqs: ssl.VerifyMode | None = None,
        tls_version: int | None = None,
        ciphers: str | None = None,
        keyfile_password: str | None = None,
        alpn_protocols: Sequence[str] | None = None,
    ) -> None:
        """Encrypt the connection. Without arguments, certificates the system trusts are accepted.

        ``certfile`` and ``keyfile`` (PEM) are for brokers that ask for a client certificate. Raises
        OptionError if a file cannot be used. ``tls_version`` is the lowest to be spoken, an
        ``ssl.TLSVersion``; one of paho's ``ssl.PROTOCOL_...`` stands for TLS 1.2 or later.
        """
        if certfile is None and keyfile is not None:
            raise OptionError("keyfile needs certfile beside it")
        self.configure(
            tls=True,
            ca_certs=ca_certs,
            certfile=certfile,
            keyfile=keyfile,
            keyfile_password=keyfile_password,
            ssl_context=None,
        )
        context = self.options.make_ssl_context()  # a file that cannot be read is reported here and now
        if context is None or not (cert_reqs is not None or tls_version or ciphers or alpn_protocols):
            return
        if cert_reqs is not None:
            context.check_hostname = context.check_hostname and cert_reqs == ssl.CERT_REQUIRED
            context.verify_mode = ssl.VerifyMode(cert_reqs)
        if isinstance(tls_version, ssl.TLSVersion):
            context.minimum_version = tls_version
        elif tls_version not in (None, ssl.PROTOCOL_TLS, ssl.PROTOCOL_TLS_CLIENT):
            context.minimum_version = ssl.TLSVersion.TLSv1_2
        if ciphers is not None:
            context.set_ciphers(ciphers)
        if alpn_protocols is not None:
            context.set_alpn_protocols(list(alpn_protocols))
        self.configure(ssl_context=context)

    def tls_set_context(self, context: ssl.SSLContext | None = None) -> None:
        """Encrypt the connection with a context of the application's own; None: the system's default."""
        self.configure(tls=True, ssl_context=context)

    def tls_insecure_set(self, value: bool) -> None:
        """True accepts whatever certificate the broker shows: for trials only. After :meth:`tls_set`."""
        if not self.options.tls:
            raise OptionError("tls_set() or tls_set_context() comes before tls_insecure_set()")
        self.configure(insecure=bool(value))
        context = self.options.ssl_context
        if context is not None:
            context.check_hostname = not value
            context.verify_mode = ssl.CERT_NONE if value else ssl.CERT_REQUIRED

    def ws_set_options(self, path: str = "/mqtt", headers: Mapping[str, str] | None = None) -> None:
        """Connect over websockets: the path of the endpoint, and HTTP headers to add."""
        self.configure(transport="websockets", path=path, ws_headers=headers)

    def reconnect_delay_set(self, min_delay: float = 1, max_delay: float = 120) -> None:
        """Bound the back-off between attempts to reconnect, in seconds; it doubles, with jitter."""
        self.configure(reconnect_min=min_delay, reconnect_max=max_delay)

    def max_inflight_messages_set(self, inflight: int) -> None:
        """Bound the publishes of QoS 1 and 2 that are sent and not yet acknowledged."""
        self.configure(max_inflight=inflight)

    def max_queued_messages_set(self, queue_size: int) -> Any:
        """Bound the publishes of QoS 1 and 2 that wait for the broker; returns the client, as paho does.

        0 is paho's word for as many as there may be, here 2,147,483,648.
        """
        self.configure(max_queued=queue_size or 2**31)
        return self

    def manual_ack_set(self, on: bool) -> None:
        """True: the application acknowledges each message of QoS 1 and 2 with ``ack(mid, qos)``."""
        self.configure(manual_ack=bool(on))
