"""Brokers that keep their state, to be ended and started again at the same port."""

from __future__ import annotations

import signal

from brokers import Mosquitto

from juham_core.broker import EmbeddedBroker


class DurableMosquitto(Mosquitto):
    """Writes its state down at each change and when it ends; no limits but those given in ``limits``."""

    settings = """
listener {port} 127.0.0.1
user root
persistence true
persistence_location {folder}/
autosave_interval 1
autosave_on_changes true
max_queued_messages 0
set_tcp_nodelay true
"""

    def __init__(self, limits="max_inflight_messages 0\n"):
        super().__init__()
        self.settings += limits

    @property
    def where(self):
        return ("127.0.0.1", self.port)

    def end(self, way):
        """End it and wait until it has: ``terminated``, it writes its state down, ``killed``, it does not."""
        self._process.send_signal({"terminated": signal.SIGTERM, "killed": signal.SIGKILL}[way])
        self._process.wait(30)

    def restart(self):
        """Start it again where it was."""
        assert self._start_at(self.port), "Mosquitto does not come back"


class DurableEmbedded(EmbeddedBroker):
    """The embedded broker, which keeps its state in memory while it is stopped."""

    @property
    def where(self):
        return (self.host, self.port)

    def end(self, _way):
        """Stop it."""
        self.stop()

    def restart(self):
        """Start it again where it was."""
        self.start()
