"""The contract: connecting, the broker's verdict, and what keeps a connection from being made."""

import time

import pytest
from brokers import Mosquitto, free_port, require_mosquitto
from proxy import Proxy
from scripted import black_hole
from waiting import FiveArguments, Inbox, OldShape

import juham_core as juham
from juham_core.broker import EmbeddedBroker
from juham_core.wire import Connack, Connect

tcp = pytest.mark.needs("tcp")
USERS = {"anna": "s3cret"}


@tcp
def test_connect_returns_before_the_verdict_that_on_connect_brings(create, peer):
    client = create(**peer.options)
    client.on_connect = verdict = OldShape()
    client.loop_start()
    assert client.connect_to_server() == 0
    conversation = peer.take_up()
    conversation.expect(Connect)
    assert not client.is_connected()
    assert verdict.count == 0
    conversation.send(Connack())
    _, userdata, flags, rc = verdict.next()
    assert (userdata, flags["session present"], rc) == (None, 0, 0)
    assert client.is_connected()


@tcp
def test_connect_takes_host_and_port_and_keepalive_as_arguments(create, peer):
    client = create()
    assert client.connect_to_server("127.0.0.1", peer.port, 17) == 0
    conversation = peer.take_up()
    assert conversation.accept().keepalive == 17
    client.wait_until_connected(5)


def test_on_connect_in_the_newer_shape(create, broker, protocol):
    client = create(**broker.options, protocol=protocol)
    client.user_data_set("mine")
    client.on_connect = verdict = FiveArguments()
    client.loop_start()
    client.connect_to_server()
    who, userdata, flags, reason_code, _ = verdict.next()
    assert who is client
    assert (userdata, flags.session_present, reason_code) == ("mine", False, 0)
    assert not reason_code.is_failure


def test_both_protocols_carry_messages(connect, observer, topic, protocol):
    client = connect(protocol=protocol)
    client.on_message = inbox = Inbox()
    observer.subscribe(topic)
    client.subscribe(topic, qos=1).wait(5)
    client.publish(topic, "x", qos=1).wait(5)
    assert observer.next().payload == inbox.next().payload == b"x"


@tcp
def test_the_protocol_asked_for_is_spoken(create, peer, protocol):
    client = create(**peer.options, protocol=protocol, client_id="c-1", username="u", password="p")
    client.connect_to_server()
    connect = peer.take_up().accept()
    said = (connect.protocol, connect.client_id, connect.username, connect.password)
    assert said == (protocol, "c-1", "u", b"p")
    client.wait_until_connected(5)


@tcp
def test_a_refused_port_is_reported_at_once(create):
    client = create(host="127.0.0.1", port=free_port())
    began = time.monotonic()
    with pytest.raises(juham.ConnectError) as caught:
        client.connect_to_server()
    assert isinstance(caught.value, ConnectionError)
    assert time.monotonic() - began < 3
    assert not client.is_connected()


@tcp
def test_a_black_hole_is_given_up_within_connect_timeout(create):
    with black_hole() as where:
        client = create(**where, connect_timeout=0.5)
        began = time.monotonic()
        with pytest.raises(juham.ConnectError):
            client.connect_to_server()
        assert 0.4 < time.monotonic() - began < 3


@tcp
def test_a_host_that_does_not_exist(create):
    with pytest.raises(juham.ConnectError, match=r"nowhere\.invalid"):
        create(host="nowhere.invalid", connect_timeout=4).connect_to_server()


@tcp
def test_a_broker_that_never_answers_connect(create, peer):
    client = create(**peer.options, connect_timeout=0.3, reconnect_min=60)
    client.connect_to_server()
    with pytest.raises(juham.ConnectTimeoutError):
        client.wait_until_connected(0.1)
    with pytest.raises(juham.ConnectTimeoutError, match="CONNECT"):
        client.wait_until_connected(3)
    assert not client.is_connected()


@tcp
def test_juham_connect_to_a_broker_that_never_answers(backend, peer):
    with pytest.raises(juham.ConnectTimeoutError):
        juham.connect(f"mqtt://127.0.0.1:{peer.port}?connect_timeout=0.3", backend=backend)
    assert isinstance(peer.take_up().next(), Connect)


@tcp
def test_a_connection_that_ends_before_the_verdict(create, peer):
    client = create(**peer.options, reconnect_min=60)
    client.connect_to_server()
    conversation = peer.take_up()
    conversation.expect(Connect)
    conversation.reset()
    with pytest.raises(juham.ConnectError) as caught:
        client.wait_until_connected(5)
    assert not isinstance(caught.value, (juham.AuthError, juham.ConnectTimeoutError))


REFUSALS = [
    (4, 0x84, 1, juham.ConnectError, True),
    (4, 0x85, 2, juham.AuthError, True),
    (4, 0x88, 3, juham.ConnectError, False),
    (4, 0x86, 4, juham.AuthError, True),
    (4, 0x87, 5, juham.AuthError, True),
    (5, 0x80, 0x80, juham.ConnectError, False),
    (5, 0x84, 0x84, juham.ConnectError, True),
    (5, 0x85, 0x85, juham.AuthError, True),
    (5, 0x86, 0x86, juham.AuthError, True),
    (5, 0x87, 0x87, juham.AuthError, True),
    (5, 0x88, 0x88, juham.ConnectError, False),
    (5, 0x89, 0x89, juham.ConnectError, False),
    (5, 0x8A, 0x8A, juham.AuthError, True),
    (5, 0x97, 0x97, juham.ConnectError, False),
    (5, 0x9C, 0x9C, juham.ConnectError, True),
    (5, 0x9D, 0x9D, juham.ConnectError, True),
    (5, 0x9F, 0x9F, juham.ConnectError, False),
]


@pytest.mark.needs("tcp", "mqtt_311", "mqtt_5")
@pytest.mark.parametrize(("version", "code", "rc", "error", "final"), REFUSALS)
def test_a_refusal(create, peer, version, code, rc, error, final):
    """Its code comes to on_connect and to whoever waits; some refusals end all attempts."""
    client = create(**peer.options, protocol=version, reconnect_min=0.1, reconnect_max=0.1)
    client.on_connect = verdict = OldShape()
    client.loop_start()
    client.connect_to_server()
    peer.take_up().refuse(code)
    assert verdict.next()[3] == rc
    with pytest.raises(error) as caught:
        client.wait_until_connected(0.1)
    assert caught.value.reason_code == code
    assert isinstance(caught.value, juham.AuthError) == (error is juham.AuthError)
    assert not client.is_connected()
    assert peer.nobody_comes(0.3) == final


@pytest.fixture(params=["embedded", "mosquitto"])
def guarded(request):
    """A proxy before a broker that lets in Anna only."""
    if request.param == "mosquitto":
        require_mosquitto(pytest.skip, pytest.fail)
    with Mosquitto(USERS) if request.param == "mosquitto" else EmbeddedBroker(users=USERS) as broker:
        proxy = Proxy(("127.0.0.1", broker.port))
        yield proxy
        proxy.close()


@tcp
def test_the_right_password(backend, guarded, closing):
    url = f"mqtt://anna:s3cret@127.0.0.1:{guarded.port}"
    assert closing(juham.connect(url, backend=backend)).is_connected()


@tcp
def test_a_wrong_password_is_an_auth_error_and_the_end(backend, guarded, protocol):
    url = f"mqtt://anna:wrong@127.0.0.1:{guarded.port}?protocol={protocol}&reconnect_min=0.01"
    with pytest.raises(juham.AuthError) as caught:
        juham.connect(url, backend=backend)
    assert caught.value.reason_code in (0x86, 0x87)
    assert "wrong" not in str(caught.value)
    assert guarded.accepted == 1


@pytest.mark.needs("tcp", "mqtt_311")
def test_a_wrong_password_in_the_numbers_of_3_1_1(create, guarded):
    client = create(**guarded.options, username="anna", password="wrong", protocol=4)
    client.on_connect = verdict = OldShape()
    client.loop_start()
    client.connect_to_server()
    assert verdict.next()[3] in (4, 5)


def test_connecting_twice_is_an_error(client):
    with pytest.raises(juham.ConnectError, match="connected"):
        client.connect_to_server()
    assert client.is_connected()


def test_two_clients_in_one_process(connect, topic):
    one, other = connect("one"), connect("other")
    one.on_message, other.on_message = first, second = Inbox(), Inbox()
    one.subscribe(f"{topic}/one", qos=1).wait(5)
    other.subscribe(f"{topic}/other", qos=1).wait(5)
    one.publish(f"{topic}/other", "to the other", qos=1).wait(5)
    other.publish(f"{topic}/one", "to the one", qos=1).wait(5)
    assert (first.texts(1), second.texts(1)) == (["to the one"], ["to the other"])
    assert first.count == second.count == 0


def test_the_url_names_the_backend(backend, broker, closing):
    client = closing(juham.connect(broker.url.replace("://", f"+{backend}://")))
    assert client.is_connected()
    assert type(client) is type(closing(juham.create(backend)))


def test_the_environment_names_broker_and_backend(backend, broker, closing, monkeypatch):
    monkeypatch.setenv("JUHAM_URL", f"{broker.url}?client_id=from-environment")
    monkeypatch.setenv("JUHAM_BACKEND", backend)
    client = closing(juham.connect())
    assert client.is_connected()
    assert client.client_id == "from-environment"
    assert type(client) is type(closing(juham.create(backend)))


def test_a_client_is_a_context_manager(connect):
    with connect() as client:
        assert client.is_connected()
    assert not client.is_connected()
