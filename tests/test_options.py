"""The options of a connection: checked, and secrets kept."""

import json
import ssl

import pytest

from juham_core.errors import InvalidArgumentError, NotSupportedError, OptionError, QosError, TopicError
from juham_core.options import Options
from juham_core.wire import Properties, Will


def test_the_ports_of_the_schemes():
    assert Options().effective_port == 1883
    assert Options(tls=True).effective_port == 8883
    assert Options(transport="websockets").effective_port == 80
    assert Options(transport="websockets", tls=True).effective_port == 443
    assert Options(port=7).effective_port == 7


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, "mqtt://localhost:1883"),
        ({"tls": True, "host": "b"}, "mqtts://b:8883"),
        ({"host": "::1", "port": 7}, "mqtt://[::1]:7"),
        ({"transport": "websockets", "tls": True}, "wss://localhost:443"),
        ({"transport": "unix", "host": "/run/m.sock"}, "unix:///run/m.sock"),
        ({"transport": "memory", "host": "hub"}, "memory://hub"),
    ],
)
def test_where_it_leads(options, shown):
    assert Options(**options).describe() == shown


def test_secrets_show_nowhere():
    secrets = {"password": "hunter2", "keyfile_password": "hunter3", "ws_headers": {"Token": "hunter4"}}
    options = Options(username="u", **secrets)
    assert "hunter" not in repr(options) + str(options.to_dict()) + options.describe()
    assert "u" in options.to_dict()["username"]


def test_a_change_is_checked_and_leaves_the_original():
    options = Options()
    assert options.changed(keepalive=5).keepalive == 5
    assert options.keepalive == 60
    with pytest.raises(OptionError, match="did you mean 'keepalive'"):
        options.changed(keepalife=5)
    with pytest.raises(OptionError, match="'keepalive'"):
        options.changed(keepalive="soon")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("keepalive", True),
        ("keepalive", None),
        ("keepalive", 1.5),
        ("session_expiry", -1),
        ("session_expiry", 2**32),
        ("max_inflight", 65_536),
        ("max_queued", -1),
        ("max_received", 0),
        ("max_received_bytes", 0),
        ("connect_timeout", -1),
        ("connect_timeout", "1"),
        ("close_timeout", float("inf")),
        ("port", -1),
        ("host", ""),
        ("host", 7),
        ("host", "a\0b"),
        ("host", "\udc80"),
        ("bind_address", 7),
        ("bind_address", "\0"),
        ("ca_certs", 7),
        ("certfile", "a\0b"),
        ("path", "mqtt"),
        ("path", None),
        ("will", "a/topic"),
        ("will", Will("a", "text")),
        ("will", Will("a", b"x" * 65_536)),
        ("transport", "pigeon"),
        ("protocol", 3),
        ("client_id", 7),
        ("client_id", "x" * 65_536),
    ],
)
def test_values_that_cannot_be(name, value):
    with pytest.raises(OptionError):
        Options(protocol=5).changed(**{name: value})


def test_what_does_not_go_together():
    with pytest.raises(OptionError, match="reconnect_max"):
        Options(reconnect_min=2, reconnect_max=1)
    with pytest.raises(OptionError, match="username"):
        Options(password="p")
    assert Options(password="p", protocol=5).password_bytes == b"p"
    with pytest.raises(OptionError, match="not an empty one"):
        Options(client_id="", clean_start=False)
    assert Options(client_id="", clean_start=False, protocol=5).client_id == ""
    assert Options(client_id="").clean_start
    with pytest.raises(NotSupportedError, match="protocol=5"):
        Options(properties=Properties(receive_maximum=5))
    with pytest.raises(NotSupportedError, match="protocol=5"):
        Options(will=Will("a", properties=Properties(will_delay_interval=1)))


def test_what_connect_carries_is_checked():
    with pytest.raises(InvalidArgumentError, match="CONNECT"):
        Options(protocol=5, properties=Properties(content_type="text/plain"))
    with pytest.raises(InvalidArgumentError, match="receive_maximum"):
        Options(protocol=5, properties=Properties(receive_maximum=0))
    with pytest.raises(TopicError):
        Options(will=Will("a/#"))
    with pytest.raises(QosError):
        Options(will=Will("a", qos=3))


def test_how_long_a_session_lives():
    assert Options().effective_session_expiry == 0
    assert Options(clean_start=False).effective_session_expiry == 0xFFFF_FFFF
    assert Options(session_expiry=7).effective_session_expiry == 7


def test_a_client_id_is_made_up_unless_a_session_is_to_last():
    made = Options().with_client_id("boiler")
    assert made.client_id.startswith("boiler-")
    assert made.with_client_id("other") is made
    assert Options().with_client_id("boiler").client_id != made.client_id
    with pytest.raises(OptionError, match="client_id"):
        Options(clean_start=False).with_client_id("boiler")


def test_tls_verifies_unless_told_otherwise():
    assert Options().make_ssl_context() is None
    context = Options(tls=True).make_ssl_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    context = Options(tls=True, insecure=True).make_ssl_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)
    assert Options(tls=True, ssl_context=context).make_ssl_context() is context


def test_tls_files_that_cannot_be_used(tmp_path):
    (tmp_path / "bad.pem").write_text("no certificate")
    for path in (tmp_path / "bad.pem", tmp_path / "missing.pem"):
        with pytest.raises(OptionError, match=path.name):
            Options(tls=True, ca_certs=str(path)).make_ssl_context()


def test_what_is_saved_is_what_differs():
    assert Options().to_dict() == {}
    saved = Options(host="b", keepalive=5, tls=True).to_dict()
    assert saved == {"host": "b", "keepalive": 5, "tls": True}
    assert Options(**saved) == Options(host="b", keepalive=5, tls=True)


@pytest.mark.parametrize("payload", [b"", b"gone", "weg \u2603".encode(), b"\xff\x00"])
def test_a_will_and_properties_are_saved_as_json(payload):
    will = Will("a", payload, 1, True, Properties(will_delay_interval=3, correlation_data=b"\x00\xfe"))
    properties = Properties(receive_maximum=7, user_property=[("a", "b")])
    options = Options(protocol=5, will=will, properties=properties)
    saved = json.loads(json.dumps(options.to_dict()))
    assert Options(**saved) == options
    assert Options(will=Will("a")).to_dict() == {"will": {"topic": "a"}}


def test_no_secret_among_the_properties_is_saved():
    pairs = [("token", "hunter3"), ("a", "b")]
    found = Properties(authentication_method="m", authentication_data=b"hunter2", user_property=pairs)
    saved = Options(protocol=5, properties=found).to_dict()["properties"]
    assert saved == {"authentication_method": "m", "user_property": [["a", "b"]]}


def test_a_will_may_be_written_as_a_plain_dict():
    options = Options(will={"topic": "a", "payload": 21.5, "qos": 1})
    assert options.will == Will("a", b"21.5", 1)
    assert Options(protocol=5, properties={"user_property": {"base64": "b"}}).properties.user_property == [
        ("base64", "b")
    ]


@pytest.mark.parametrize(
    "will",
    [
        {},
        {"payload": "x"},
        {"topic": "a", "quality": 1},
        {"topic": "a/#"},
        {"topic": "a", "qos": 3},
        {"topic": "a", "retain": 1},
        {"topic": "a", "payload": ["x"]},
        {"topic": "a", "payload": {"base64": "?"}},
        {"topic": "a", "properties": "x"},
        {"topic": "a", "properties": {"colour": "red"}},
        {7: "a", "topic": "a"},
        "a",
    ],
)
def test_a_dict_that_is_no_will_is_refused(will):
    with pytest.raises(InvalidArgumentError):
        Options(protocol=5, will=will)


def test_properties_may_be_written_as_a_plain_dict_and_are_checked():
    options = Options(protocol=5, properties={"receive_maximum": 7})
    assert options.properties.receive_maximum == 7
    with pytest.raises(InvalidArgumentError, match="no property"):
        Options(protocol=5, properties={"colour": "red"})


def test_several_servers_decide_where_it_leads():
    options = Options(servers=["b1:1884", "[::1]", "b3"], tls=True)
    assert options.servers == ("b1:1884", "[::1]", "b3")
    assert options.targets == (("b1", 1884), ("::1", None), ("b3", None))
    assert (options.host, options.port) == ("b1", 1884)
    assert options.describe() == "mqtts://b1:1884,[::1]:8883,b3:8883"
    second = options.at(options.targets[1])
    assert (second.describe(), second.servers) == ("mqtts://[::1]:8883", ())
    assert options.changed(keepalive=5).servers == options.servers
    assert Options(servers=["b1:1884"]) == Options(host="b1", port=1884)
    assert Options(host="b").targets == (("b", None),)


def test_several_servers_are_saved():
    saved = Options(servers=["b1:1884", "b2"]).to_dict()
    assert saved == {"servers": ["b1:1884", "b2"]}
    assert Options(**saved).servers == ("b1:1884", "b2")


def test_a_new_host_takes_the_place_of_all_servers():
    options = Options(servers=["b1:1884", "b2"])
    assert options.changed(host="c", port=1).targets == (("c", 1),)
    assert options.changed(servers=["c1", "c2"]).targets == (("c1", None), ("c2", None))
    for changes in ({"port": 1}, {"servers": ["c1", "c2"], "host": "c"}):
        with pytest.raises(OptionError, match="beside them"):
            options.changed(**changes)


@pytest.mark.parametrize("servers", ["b1,b2", 7, ["b1", 7], ["b1", "b2:x"], ["b1", "::1"], ["b 1"], [""]])
def test_servers_that_cannot_be(servers):
    with pytest.raises(OptionError):
        Options(servers=servers)


@pytest.mark.parametrize("transport", ["unix", "memory"])
def test_there_is_one_socket_and_one_broker_in_a_process(transport):
    with pytest.raises(OptionError, match="servers"):
        Options(transport=transport, servers=["b1", "b2"])
