"""A websocket without I/O, by the library websockets: MQTT in binary frames (MQTT 5 section 6)."""

from __future__ import annotations

import threading
from typing import Any, Final

from juham_core.errors import OptionError
from juham_core.options import Options

_SLACK: Final = 1024 * 1024
"""Bytes that a frame may have beyond the largest packet: it may hold several."""


class WebSocketLayer:
    """The client's end of one websocket, which one thread at a time may enter."""

    def __init__(self, options: Options) -> None:
        # Only programs that use websockets have the library imported.
        from websockets.client import ClientProtocol  # noqa: PLC0415
        from websockets.exceptions import InvalidURI  # noqa: PLC0415
        from websockets.frames import Opcode  # noqa: PLC0415
        from websockets.http11 import Response  # noqa: PLC0415
        from websockets.typing import Subprotocol  # noqa: PLC0415
        from websockets.uri import parse_uri  # noqa: PLC0415

        self.ready = False
        self._response: type = Response
        self._text = Opcode.TEXT
        self._data = (Opcode.BINARY, Opcode.CONT)
        self._lock = threading.Lock()
        scheme = "wss" if options.tls else "ws"
        host = f"[{options.host}]" if ":" in options.host else options.host
        try:
            uri = parse_uri(f"{scheme}://{host}:{options.effective_port}{options.path}")
        except InvalidURI as exc:
            raise OptionError(f"no websocket is at {options.describe()}{options.path}: {exc}") from exc
        most = options.largest_packet + _SLACK
        self._socket: Any = ClientProtocol(uri, subprotocols=[Subprotocol("mqtt")], max_size=most)
        request = self._socket.connect()
        for name, value in (options.ws_headers or {}).items():
            if {"\r", "\n"} & {*name, *value}:
                raise OptionError(f"the header {name!r} in the option 'ws_headers' has more than one line")
            request.headers.pop(name, None)
            request.headers[name] = value
        self._socket.send_request(request)

    def waiting(self) -> bytes:
        """What the websocket itself wants to have sent now: the request, a pong, a close."""
        with self._lock:
            return self._outgoing()

    def sending(self, data: bytes) -> bytes:
        """A binary frame, after what was waiting. Raises ConnectionError once the broker has closed."""
        with self._lock:
            if self._socket.close_rcvd is None:
                self._socket.send_binary(data)
                return self._outgoing()
        raise ConnectionError("the broker has closed the websocket")

    def received(self, data: bytes) -> bytes:
        """What binary frames brought. Raises ConnectionError for a refusal, and for what is no MQTT."""
        parts = []
        with self._lock:
            self._socket.receive_data(data)
            problem = self._socket.handshake_exc or self._socket.parser_exc
            if problem is not None:
                raise ConnectionError(f"the broker does not speak websocket here: {problem}") from problem
            for event in self._socket.events_received():
                if isinstance(event, self._response):
                    self.ready = True
                elif event.opcode in self._data:
                    parts.append(bytes(event.data))
                elif event.opcode is self._text:
                    raise ConnectionError("the broker sent text where MQTT wants binary frames")
        return b"".join(parts)

    def closing(self) -> bytes:
        """A close frame."""
        with self._lock:
            if self._socket.close_rcvd is None and self._socket.close_sent is None:
                self._socket.send_close(1000)
            return self._outgoing()

    def _outgoing(self) -> bytes:
        return b"".join(self._socket.data_to_send())
