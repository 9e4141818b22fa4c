"""The options of a connection: checked, and secrets kept."""

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
        ("connect_timeout", -1),
        ("connect_timeout", "1"),
        ("close_timeout", float("inf")),
        ("port", -1),
        ("host", ""),
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
    with pytest.raises(NotSupportedError, match="protocol=5"):
        Options(properties=Properties(receive_maximum=5))
    with pytest.raises(NotSupportedError, match="protocol=5"):
        Options(will=Will("a", properties=Properties(will_delay_interval=1)))


def test_what_connect_carries_is_checked():
    with pytest.raises(InvalidArgumentError, match="CONNECT"):
        Options(protocol=5, properties=Properties(content_type="text/plain"))
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
    saved = Options(host="b", keepalive=5, tls=True, will=Will("a")).to_dict()
    assert saved == {"host": "b", "keepalive": 5, "tls": True}
    assert Options(**saved) == Options(host="b", keepalive=5, tls=True)


def test_properties_may_be_written_as_a_plain_dict_and_are_checked():
    options = Options(protocol=5, properties={"receive_maximum": 7})
    assert options.properties.receive_maximum == 7
    with pytest.raises(InvalidArgumentError, match="no property"):
        Options(protocol=5, properties={"colour": "red"})
