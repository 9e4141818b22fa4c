"""An attempt that is given up while the loop takes its socket over leaves no socket behind."""

from __future__ import annotations

import asyncio

import pytest
from running import run, soon, until

import juham_core as juham

link = pytest.importorskip("juham_gmqtt.link")
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


@pytest.mark.parametrize("loop", [None, uvloop.new_event_loop])
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("end", ["given up", "cancelled"])
def test_while_gmqtt_has_its_transport_made(embedded, monkeypatch, loop, tls, end):
    socks = []
    dial = link.dial

    def dialling(*arguments):
        socks.append(dial(*arguments))
        return socks[-1]

    async def connect(self):
        task = asyncio.current_task()
        asyncio.get_running_loop().call_soon(self._attempt.give_up if end == "given up" else task.cancel)
        await connecting(self)

    connecting = link.Link._connect
    monkeypatch.setattr(link, "dial", dialling)
    monkeypatch.setattr(link.Link, "_connect", connect)

    async def main():
        client = juham.create("gmqtt", reconnect=False, host=embedded.host, port=embedded.port)
        client.configure(tls=tls, insecure=tls)
        with pytest.raises((juham.ConnectError, asyncio.CancelledError)):
            await soon(juham.aio.AsyncMqtt(client).connect())
        await until(lambda: all(sock.fileno() == -1 for sock in socks))

    run(main(), loop)
    assert socks
