"""An attempt that is given up while the loop takes its socket over leaves no socket behind."""

from __future__ import annotations

import pytest
from running import run, soon, until

import juham_core as juham

looped = pytest.importorskip("juham_native.looped")
uvloop = pytest.importorskip("uvloop")


@pytest.mark.parametrize("loop", [None, uvloop.new_event_loop])
def test_while_the_transport_is_made(embedded, monkeypatch, loop):
    socks = []
    connect, made = looped.LoopedLink._connect, looped.LoopedLink.connection_made

    def connecting(link, sock, future):
        socks.append(sock)
        connect(link, sock, future)

    def connection_made(link, transport):
        link._attempt.give_up()
        made(link, transport)

    monkeypatch.setattr(looped.LoopedLink, "_connect", connecting)
    monkeypatch.setattr(looped.LoopedLink, "connection_made", connection_made)

    async def main():
        client = juham.create("native", reconnect=False, host=embedded.host, port=embedded.port)
        mqtt = juham.aio.AsyncMqtt(client)
        with pytest.raises(juham.ConnectError):
            await soon(mqtt.connect())
        await until(lambda: all(sock.fileno() == -1 for sock in socks))

    run(main(), loop)
    assert socks
