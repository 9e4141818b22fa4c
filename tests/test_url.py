"""The URL of a broker: every option can be spelled, and a password is never repeated."""

import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from juham_core.errors import OptionError
from juham_core.options import Options
from juham_core.url import parse_url
from juham_core.wire import Will


def options_of(url):
    return Options(**parse_url(url)[1])


@pytest.mark.parametrize(
    ("url", "transport", "tls", "port"),
    [
        ("mqtt://h", "tcp", False, 1883),
        ("mqtts://h", "tcp", True, 8883),
        ("ws://h", "websockets", False, 80),
        ("wss://h", "websockets", True, 443),
        ("mqtt://h:7", "tcp", False, 7),
    ],
)
def test_schemes(url, transport, tls, port):
    options = options_of(url)
    assert (options.host, options.transport, options.tls) == ("h", transport, tls)
    assert options.effective_port == port


@pytest.mark.parametrize(
    ("url", "servers", "shown"),
    [
        ("mqtt://b1:1884,b2,B3:1885", ("b1:1884", "b2", "b3:1885"), "mqtt://b1:1884,b2:1883,b3:1885"),
        ("mqtts://u:p@b1,[::1]:7,[::2]/", ("b1", "[::1]:7", "[::2]"), "mqtts://b1:8883,[::1]:7,[::2]:8883"),
        ("wss://b1,b2:444/chat", ("b1", "b2:444"), "wss://b1:443,b2:444"),
        ("mqtt://[fe80::1%25eth0],b2", ("[fe80::1%eth0]", "b2"), "mqtt://[fe80::1%eth0]:1883,b2:1883"),
    ],
)
def test_several_servers(url, servers, shown):
    options = options_of(url)
    assert options.servers == servers
    assert options.describe() == shown
    assert (options.host, options.port) == options.targets[0]


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("mqtt://b1,,b2", "no host"),
        ("mqtt://b1,", "no host"),
        ("mqtt://b1,:1884", "no host"),
        ("mqtt://b1,::1", "brackets|\\[address\\]"),
        ("mqtt://b1:99999,b2", "port"),
        ("mqtt://u:hunter2@b1,u:hunter2@b2", "once"),
        ("memory://b1,b2", "one broker"),
        ("unix:///run/a.sock,/run/b.sock", "one socket"),
    ],
)
def test_what_is_wrong_about_several_servers_is_named(url, named):
    with pytest.raises(OptionError, match=named) as raised:
        parse_url(url)
    assert "hunter2" not in str(raised.value)


def test_a_socket_has_a_user_too():
    options = options_of("unix://anna:pw@/run/a@b%2C.sock")
    assert (options.host, options.username, options.password) == ("/run/a@b,.sock", "anna", "pw")


def test_the_backend_is_part_of_the_scheme():
    assert parse_url("mqtt://h")[0] is None
    assert parse_url("mqtts+gmqtt://h")[0] == "gmqtt"
    assert parse_url("mqtt+://h")[0] is None


def test_everything_at_once():
    options = options_of(
        "mqtt://us%40er:p%2Fw%23@[::1]:1884?client_id=c%201&keepalive=30&clean_start=no&session_expiry=60"
        "&protocol=5&connect_timeout=2.5&close_timeout=1&reconnect=false&max_inflight=5&max_queued=6"
        "&max_received=7&max_received_bytes=8&manual_ack=yes&reconnect_min=0.5&reconnect_max=9&bind_address=127.0.0.2"
    )
    assert options == Options(
        host="::1",
        port=1884,
        username="us@er",
        password="p/w#",
        client_id="c 1",
        keepalive=30,
        clean_start=False,
        session_expiry=60,
        protocol=5,
        connect_timeout=2.5,
        close_timeout=1,
        reconnect=False,
        max_inflight=5,
        max_queued=6,
        max_received=7,
        max_received_bytes=8,
        manual_ack=True,
        reconnect_min=0.5,
        reconnect_max=9,
        bind_address="127.0.0.2",
    )


def test_a_will():
    url = "mqtt://h?will_topic=a/b&will_payload=g%C3%B6ne&will_qos=1&will_retain=true"
    assert options_of(url).will == Will("a/b", "göne".encode(), 1, True)
    assert options_of("mqtt://h?will_topic=a").will == Will("a")
    with pytest.raises(OptionError, match="will_topic"):
        parse_url("mqtt://h?will_qos=1")


def test_a_socket_and_a_websocket_have_paths():
    assert options_of("unix:///run/m%20q.sock").host == "/run/m q.sock"
    assert options_of("ws://h/a/b").path == "/a/b"
    assert options_of("ws://h").path == "/mqtt"
    assert options_of("mqtt://h/").host == "h"
    assert options_of("memory://hub").host == "hub"
    with pytest.raises(OptionError, match="path"):
        parse_url("mqtt://h/a")
    with pytest.raises(OptionError, match="socket"):
        parse_url("unix://")


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("http://h", "'http'"),
        ("h", "''"),
        ("mqtt://h?keepalive=soon", "'keepalive' cannot be 'soon': it is a whole number"),
        ("mqtt://h?ack_timeout=soon", "'ack_timeout' cannot be 'soon': it is a number"),
        ("mqtt://h?ssl_context=x", "goes to connect"),
        ("mqtt://h?user_name=x", "the options are ack_timeout, bind_address, ca_certs, "),
        ("mqtt://h?keepalive=70000", "'keepalive'"),
        ("mqtt://h?clean_start=perhaps", "'clean_start'"),
        ("mqtt://h?protocol=3", "'protocol'"),
        ("mqtt://h?keepaliv=3", "'keepalive'"),
        ("mqtt://h?keepalive=3&keepalive=4", "twice"),
        ("mqtt://h?keepalive=", "'keepalive'"),
        ("mqtt://h:99999", "port"),
        ("mqtt://h:x", "port"),
        ("mqtt://[::1", "host:port"),
        (None, "NoneType"),
        (7, "int"),
        (b"mqtt://h", "str"),
    ],
)
def test_what_is_wrong_is_named(url, named):
    with pytest.raises(OptionError, match=named):
        parse_url(url)


@pytest.mark.parametrize("sign", ["#", "?", "/", "@", "[", "]", "%zz", ":"])
@pytest.mark.parametrize("scheme", ["mqtt", "unix", "mqtt+nope", "http"])
def test_a_password_with_signs_that_should_have_been_encoded_is_not_repeated(scheme, sign):
    """Such a URL may be taken apart wrongly: then it must not lead elsewhere, nor be quoted."""
    error, options = outcome(f"{scheme}://user:12{sign}34hunter2@broker")
    if options is None:
        assert "hunter2" not in "".join(traceback.format_exception_only(error))
    else:
        assert scheme == "unix" or options["host"] == "broker"


def outcome(url):
    try:
        return None, parse_url(url)[1]
    except OptionError as exc:
        return exc, None


@given(st.text(max_size=40))
def test_any_text_is_a_url_or_an_option_error(text):
    for url in (text, f"mqtt://{text}", f"mqtt://h?{text}", f"mqtt://u:{text}@h"):
        outcome(url)
