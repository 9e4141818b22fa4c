"""Mutants that connect wrongly: too trusting, too patient, or too sure of themselves."""

from __future__ import annotations

import contextlib
import socket
import ssl

from mutants import mutant
from toy import JToy

from juham_core.connection import State
from juham_core.errors import AuthError, ConnectError, ConnectTimeoutError
from juham_core.wire import Decoder, MalformedPacketError


@mutant("connect.refused_port", "connects in the background, and says nothing of a refused port")
class JOptimisticOpen(JToy):
    def _open(self, options):
        with contextlib.suppress(ConnectionRefusedError):
            super()._open(options)


@mutant("connect.black_hole", "takes its own time to connect")
class JPatient(JToy):
    def _open(self, options):
        super()._open(options.changed(connect_timeout=options.connect_timeout * 5))


@mutant("connect.unknown_host", "does not say which host it has not found")
class JNameless(JToy):
    def _open(self, options):
        try:
            super()._open(options)
        except OSError as exc:
            raise ConnectError("no route to host") from exc


@mutant("connect.accepted_after_connack", "is connected as soon as TCP is")
class JFalseIsConnected(JToy):
    def _open(self, options):
        super()._open(options)
        self._connack(False)


@mutant("connect.no_connack", "reports that CONNACK has not come as a plain TimeoutError")
class JPlainTimeout(JToy):
    def wait_until_connected(self, timeout=None):
        try:
            super().wait_until_connected(timeout)
        except ConnectTimeoutError as exc:
            raise TimeoutError(str(exc)) from exc


@mutant("connect.no_connack_then_again", "leaves an attempt that was given up connected")
class JLeavesSockets(JToy):
    _left = None

    def _close(self, deliberate):
        if self._connection.state is State.WAITING:
            self._left, self._sock = self._sock, None
        super()._close(deliberate)

    def disconnect_from_server(self):
        super().disconnect_from_server()
        if self._left is not None:
            self._left.shutdown(socket.SHUT_RDWR)
            self._left.close()
            self._left = None


@mutant("connect.closed_without_connack", "does not notice that the peer has closed")
class JNeverEnds(JToy):
    def _ended(self, sock, error):
        if error is not None:
            super()._ended(sock, error)


@mutant("connect.reset_without_connack", "does not notice a reset")
class JNoReset(JToy):
    def _ended(self, sock, error):
        if not isinstance(error, ConnectionResetError):
            super()._ended(sock, error)


@mutant("connect.http_peer", "dies of what is no MQTT")
class JDies(JToy):
    def _step(self, sock, decoder):
        try:
            return super()._step(sock, decoder)
        except MalformedPacketError as exc:
            raise KeyError("no such packet") from exc


@mutant("connect.cut_connack", "takes any four bytes to come for a matter of patience")
class JHalfAnswer(JToy):
    def _read(self, sock):
        decoder = Decoder(self._protocol)
        with contextlib.suppress(OSError):
            while self._step(sock, decoder):
                pass


@mutant("connect.endless_connacks", "calls on_connect for every CONNACK")
class JEveryConnack(JToy):
    def _on_connack(self, packet):
        super()._on_connack(packet)
        self._delivery.connected(packet.session_present, packet.reason_code, 0, packet.properties)()


@mutant("connect.fragments", "takes what one read brings for whole packets")
class JOneReadOnePacket(JToy):
    def _step(self, sock, decoder):
        return super()._step(sock, Decoder(self._protocol))


@mutant("connect.refused_password", "takes refused credentials for a fault that passes")
class JTriesAgain(JToy):
    def _on_connack(self, packet):
        if packet.reason_code:
            self._lost(ConnectionError("refused"))
        else:
            super()._on_connack(packet)


@mutant("connect.refused_unavailable", "gives up for good when the server is unavailable")
class JGivesUp(JToy):
    def _connack(self, session_present, reason_code=0, properties=None, **named):
        super()._connack(session_present, 0x87 if reason_code else 0, properties, **named)


@mutant("connect.refusal_in_on_connect", "calls on_connect only when it is accepted")
class JQuietRefusal(JToy):
    def _connack(self, session_present, reason_code=0, *more, **named):
        if reason_code:
            self._connection.refused(reason_code)
        else:
            super()._connack(session_present, reason_code, *more, **named)


class _Connect(JToy):
    """Changes its CONNECT packet."""

    changes: dict[str, object] = {}  # noqa: RUF012 - each mutant has its own

    def _make_connect(self, options):
        connect = super()._make_connect(options)
        for name, value in self.changes.items():
            setattr(connect, name, value)
        return connect


@mutant("connect.packet", "sends passwords in Latin-1")
class JOldPassword(_Connect):
    def _make_connect(self, options):
        connect = super()._make_connect(options)
        if isinstance(options.password, str):
            connect.password = options.password.encode("latin-1", "replace")
        return connect


@mutant("connect.packet_will", "forgets the will")
class JNoWill(_Connect):
    changes = {"will": None}  # noqa: RUF012


@mutant("connect.packet_client_id", "has one client identifier for all")
class JOneIdentifier(_Connect):
    changes = {"client_id": "toy"}  # noqa: RUF012


@mutant("connect.packet_session", "always begins a new session")
class JCleanStart(_Connect):
    changes = {"clean_start": True}  # noqa: RUF012


@mutant("connect.arguments", "does not look at the arguments of connect_to_server")
class JDeafToArguments(JToy):
    def connect_to_server(self, *_arguments, **_named):
        return super().connect_to_server()


@mutant("connect.bind_address", "takes bind_address and does nothing with it")
class JNoBind(JToy):
    def _open(self, options):
        super()._open(options.changed(bind_address=""))


@mutant("connect.twice", "connects anew though it is connected")
class JConnectsTwice(JToy):
    def connect_to_server(self, *arguments, **named):
        if self.is_connected():
            return 0
        return super().connect_to_server(*arguments, **named)


@mutant("connect.close_twice", "cannot be closed twice")
class JClosesOnce(JToy):
    def _close(self, deliberate):
        super()._close(deliberate)
        self.disconnect_from_server = self._fail

    @staticmethod
    def _fail():
        raise RuntimeError("closed already")


@mutant("connect.again_after_close", "forgets its subscriptions when it is closed")
class JForgetsAll(JToy):
    def _close(self, deliberate):
        super()._close(deliberate)
        self._ledger._entries.clear()


@mutant("connect.two_clients", "keeps its handlers where all clients find them")
class JSharesHandlers(JToy):
    _shared: dict[str, object] = {}  # noqa: RUF012 - that is the fault

    def _set_up(self, name):
        super()._set_up(name)
        self._event_handlers = self._shared


@mutant("connect.context_manager", "stays connected at the end of a with block")
class JStaysOpen(JToy):
    def __exit__(self, *exc):
        pass


@mutant("connect.secret_hidden", "shows its password in its repr")
class JTalkative(JToy):
    def __repr__(self):
        return f"<JTalkative {self.options.username}:{self.options.password}>"


@mutant("connect.tls_untrusted", "trusts every certificate")
class JTrusting(JToy):
    def _open(self, options):
        super()._open(options.changed(insecure=True))


@mutant("connect.tls_wrong_host", "does not look whose certificate it is")
class JAnyHost(JToy):
    def _open(self, options):
        context = options.make_ssl_context()
        if context is not None:
            context.check_hostname = False
        super()._open(options.changed(ssl_context=context))


@mutant("connect.tls_expired", "does not look at the date of a certificate")
class JNoDate(JToy):
    def _open(self, options):
        super()._open(options.changed(insecure=True))


@mutant("connect.tls_insecure", "insists on a certificate that is trusted, come what may")
class JInsists(JToy):
    def _open(self, options):
        super()._open(options.changed(insecure=False))


@mutant("connect.tls_client_certificate", "does not show its certificate")
class JShowsNothing(JToy):
    def _open(self, options):
        super()._open(options.changed(certfile=None, keyfile=None))


@mutant("connect.tls", "connects without TLS where TLS was asked for")
class JPlain(JToy):
    def _open(self, options):
        super()._open(options.changed(tls=False))


@mutant("connect.tls_to_plain", "reports a library's own exception")
class JForeignError(JToy):
    def _open(self, options):
        try:
            super()._open(options)
        except ssl.SSLError as exc:
            raise RuntimeError("handshake failure") from exc


@mutant("connect.tls_no_handshake", "has no bound for the TLS handshake")
class JSlowHandshake(JToy):
    def _open(self, options):
        super()._open(options.changed(connect_timeout=2.5) if options.tls else options)


@mutant("connect.refused_client_id", "takes a bad client identifier for a matter of the network")
class JNotMyFault(JToy):
    def wait_until_connected(self, timeout=None):
        try:
            super().wait_until_connected(timeout)
        except AuthError as exc:
            raise ConnectionError(str(exc)) from exc
