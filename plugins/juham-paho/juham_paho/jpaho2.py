"""JPaho2, the backend "paho2": a paho client that is a JMqtt too."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY, Client
from paho.mqtt.enums import CallbackAPIVersion

from juham_core.connection import State
from juham_core.defaults import HOST, KEEPALIVE, PORT
from juham_core.errors import NotSupportedError, OptionError
from juham_core.handlers import Handler
from juham_core.jmqtt import JMqtt
from juham_core.message import MqttMsg
from juham_core.options import Options
from juham_core.wire.terms import Subscription
from juham_paho import settings, shapes, twofold
from juham_paho.driver import Driver
from juham_paho.handover import Handover
from juham_paho.jpaho import CAPABILITIES
from juham_paho.library import PahoClient, lend
from juham_paho.properties import as_core
from juham_paho.twofold import ClassDefault, Twofold
from juham_paho.use import Use, become_juham, close_as_paho, connecting_as_paho

if TYPE_CHECKING:
    import asyncio


class JPaho2(Client, JMqtt, metaclass=Twofold):  # type: ignore[misc]  # one name, two signatures: see Use
    """A ``paho.mqtt.client.Client`` and a :class:`~juham_core.jmqtt.JMqtt` in one object.

    *As paho's client* it is used where ``callback_api_version`` was given, or once one of paho's own
    connecting methods is called (``connect``, ``connect_async``, ``connect_srv``, ``reconnect``, the external
    event loop): every method of paho's then has paho's signature, result and meaning. Without
    ``callback_api_version``, handlers may have the old or the new shape.

    *As a JMqtt* it is used until then, and always once :meth:`connect_to_server` was called. What was
    published and subscribed to before paho's ``connect`` is handed over to it.
    """

    paho_version = 2
    """The generation of paho-mqtt underneath."""
    host = ClassDefault("localhost", Client.host)  # type: ignore[arg-type]  # a property, as the class has it
    port = ClassDefault(1883, Client.port)  # type: ignore[arg-type]  # a property, as the class has it
    configured = ClassDefault(False, property(lambda client: client._use is Use.JUHAM))
    """True once :meth:`connect_to_server` has set the client up."""
    capabilities = CAPABILITIES
    library = "paho-mqtt"
    _constants: ClassVar[frozenset[str]] = frozenset({"paho_version", "configured"})
    _registered_client_id: ClassVar[str | None] = None

    def __init__(self, name: Any = "paho", *client_arguments: Any, **client_keywords: Any) -> None:
        """Make a client that is not connected; keyword arguments are those of paho's ``Client``.

        Positional ones are understood as paho's where the first is a ``CallbackAPIVersion``.
        """
        if isinstance(name, CallbackAPIVersion):
            client_arguments, name = (name, *client_arguments), "paho"
        elif client_arguments:
            raise TypeError("after its name, JPaho2 takes the arguments of paho's Client as keywords")
        explicit = client_arguments[0] if client_arguments else client_keywords.get("callback_api_version")
        if explicit is None:
            client_keywords["callback_api_version"] = CallbackAPIVersion.VERSION2
        if len(client_arguments) < 2 and not client_keywords.get("client_id"):
            client_keywords["client_id"] = self._registered_client_id or ""
        self._explicit: CallbackAPIVersion | None = explicit
        self._use = Use.UNDECIDED if explicit is None else Use.PAHO
        self._handover: Handover | None = None
        self._event_handlers = {}
        PahoClient.__init__(self, *client_arguments, **client_keywords)  # type: ignore[arg-type]  # lent: see lend
        userdata = self._userdata
        self._mirror = settings.Mirror(self)
        self._driver = Driver(self, self, super())
        self._set_up(name)
        self._userdata = userdata
        cls = type(self)
        if (cls.host, cls.port) != (HOST, PORT):
            self._options = self._options.changed(host=cls.host, port=cls.port)
        with contextlib.suppress(OptionError):  # what only paho can do: reported if a JMqtt is to do it
            self._adopt()

    def __del__(self) -> None:
        # An object whose constructor failed has no sockets.
        with contextlib.suppress(AttributeError):
            super().__del__()

    @classmethod
    def register_client_id(cls, name_pid: str) -> None:
        """Give the client identifier that clients made from now on use, where none is given to them."""
        cls._registered_client_id = name_pid

    # --- settings -----------------------------------------------------------------------------------

    def _adopt(self) -> None:
        """Take over into the options what was set through paho's constructor and properties."""
        if self._use is Use.JUHAM and self._connection.state is not State.CLOSED:
            return  # paho has the options of the present attempt, which a hook may have changed
        options = self._mirror.adopted(self._options)
        if options is not self._options:
            self._options = options
            self._apply_bounds()

    @property
    def options(self) -> Options:
        """The options of the connection; what paho's own attributes say is among them."""
        self._adopt()
        return self._options

    @options.setter
    def options(self, options: Options) -> None:
        self._require(options)
        if self._use is not Use.JUHAM and self._connection_closed():
            self._mirror.write_changes(self._options, options)
        self._options = options
        self._apply_bounds()

    @property
    def native(self) -> Client:
        """The client itself."""
        return self

    @property
    def client_id(self) -> str:
        """The client identifier."""
        return super().client_id if self._use is Use.JUHAM else self._client_id.decode()

    @property
    def callback_api_version(self) -> CallbackAPIVersion:
        """The version given to the constructor; else VERSION2, though handlers may have either shape."""
        return self._explicit or CallbackAPIVersion.VERSION2

    @property
    def protocol(self) -> Any:
        """The version of MQTT; paho-mqtt 2.0.0 could not say."""
        return self._protocol

    max_inflight_messages = twofold.bounding("max_inflight_messages", "max_inflight", settings.MOST_INFLIGHT)
    max_queued_messages = twofold.bounding("max_queued_messages", "max_queued", settings.MOST_QUEUED)

    # --- connecting ---------------------------------------------------------------------------------

    def connect_to_server(
        self,
        host: str = HOST,
        port: int = PORT,
        keepalive: int = KEEPALIVE,
        bind_address: str = "",
        clean_start: bool = True,
        properties: Mapping[str, Any] | None = None,
    ) -> int:
        """See :meth:`juham_core.jmqtt.JMqtt.connect_to_server`; from now on the client is a JMqtt."""
        become_juham(self)
        return super().connect_to_server(
            host, port, keepalive, bind_address, clean_start, as_core(properties)
        )

    def connect(  # type: ignore[override]  # paho's signature
        self,
        host: str,
        port: int = 1883,
        keepalive: int = 60,
        bind_address: str = "",
        bind_port: int = 0,
        clean_start: Any = MQTT_CLEAN_START_FIRST_ONLY,
        properties: Any = None,
    ) -> Any:
        """Paho's own; on a client that was connected with ``connect_to_server``, another name for that."""
        if self._use is Use.JUHAM:
            return JMqtt.connect(
                self, host, port, keepalive, bind_address, bind_port, clean_start, as_core(properties)
            )
        with connecting_as_paho(self):
            return super().connect(host, port, keepalive, bind_address, bind_port, clean_start, properties)

    def wait_until_connected(self, timeout: float | None = None) -> None:
        """See :meth:`juham_core.jmqtt.JMqtt.wait_until_connected`; ``on_connect`` tells users of paho's."""
        if self._use is Use.PAHO:
            raise NotSupportedError("paho's own connect() has nothing to wait with: use on_connect")
        super().wait_until_connected(timeout)

    def disconnect_from_server(self) -> None:
        """See :meth:`juham_core.jmqtt.JMqtt.disconnect_from_server`."""
        if self._use is Use.PAHO:
            close_as_paho(self)
        else:
            super().disconnect_from_server()

    def reinitialise(self, client_id: str = "", clean_session: bool = True, userdata: Any = None) -> None:
        """Paho's own: make the client anew."""
        if self._use is Use.JUHAM:
            self.disconnect_from_server()
        self._reset_sockets()
        version = {} if self._explicit is None else {"callback_api_version": self._explicit}
        JPaho2.__init__(
            self, self.name, client_id=client_id, clean_session=clean_session, userdata=userdata, **version
        )

    def loop_forever(self, timeout: float = 1.0, retry_first_connection: bool = False) -> Any:
        """Paho's own, or :meth:`juham_core.jmqtt.JMqtt.loop_forever`, whose thread needs neither argument."""
        if self._use is Use.PAHO:
            return super().loop_forever(timeout, retry_first_connection)
        return JMqtt.loop_forever(self)

    # --- messages -----------------------------------------------------------------------------------

    def publish(  # type: ignore[override]  # paho's signature
        self,
        topic: str,
        payload: Any = None,
        qos: int = 0,
        retain: bool = False,
        properties: Any = None,
        *,
        msg: Any = None,
    ) -> Any:
        """Paho's own, or :meth:`juham_core.jmqtt.JMqtt.publish`; ``msg`` is JMqtt's word for ``payload``."""
        if msg is not None:
            payload = msg
        if self._use is Use.PAHO:
            return super().publish(topic, payload, qos, retain, properties)
        return JMqtt.publish(self, topic, payload, qos, retain, as_core(properties))

    def message_callback_add(self, sub: str, callback: Handler) -> None:
        """Paho's own, or JMqtt's: a client that is used as both some day has it in both."""
        if self._use is not Use.PAHO:
            JMqtt.message_callback_add(self, sub, callback)
            super().message_callback_add(sub, callback)
            return
        super().message_callback_add(sub, callback)
        with contextlib.suppress(ValueError):  # paho takes any filter
            self._delivery.router.add(sub, callback)

    def message_callback_remove(self, sub: str, callback: Handler | None = None) -> None:
        """Paho's own, or JMqtt's."""
        super().message_callback_remove(sub)
        with contextlib.suppress(ValueError):
            self._delivery.router.remove(sub, callback)

    # --- saving -------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """See :meth:`juham_core.jmqtt.JMqtt.to_dict`; an explicit callback API version is saved too."""
        self._adopt()
        data = super().to_dict()
        if self._explicit is not None:
            data["_object"]["callback_api_version"] = self._explicit.value
        return data

    def from_dict(self, data: Mapping[str, Any]) -> None:
        """Take over what :meth:`to_dict` returned."""
        state = dict(data.get("_object", {}))
        version = state.pop("callback_api_version", None)
        super().from_dict({**data, "_object": state})
        if version is not None:
            self._explicit = self._callback_api_version = CallbackAPIVersion(version)

    # --- what JMqtt asks for ------------------------------------------------------------------------

    def _get_handler(self, event: str) -> Handler | None:
        return shapes.for_jmqtt(event, self._event_handlers.get(event), self._explicit, self._protocol)

    def _open(self, options: Options) -> None:
        settings.write(self, options)
        self._driver.open(options)

    def _close(self, deliberate: bool) -> None:
        self._driver.close(deliberate)
        self._mirror.write_bounds(self._options)

    def _run_in(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._driver.run_in(loop)

    def _publish(self, message: MqttMsg) -> int:
        return self._driver.publish(message)

    def _subscribe(self, subscriptions: list[Subscription]) -> int:
        return self._driver.subscribe(subscriptions)

    def _unsubscribe(self, topic_filters: list[str]) -> int:
        return self._driver.unsubscribe(topic_filters)

    def _pubrel(self, key: int, message: MqttMsg) -> None:
        self._driver.release(key, message)

    def _ack(self, mid: int, qos: int) -> None:
        self._driver.ack(mid, qos)


lend(JPaho2)
twofold.complete(JPaho2)  # with what only chooses between paho's and JMqtt's: subscribe() and many others
