"""The backends that are to be tested are there: a missing one fails, for nobody would miss its tests."""

import pytest
from expected import expected_backends

import juham_core as juham


@pytest.mark.parametrize("name", expected_backends())
def test_backend_is_installed_and_usable(name, closing):
    client = closing(juham.create(name))
    assert isinstance(client, juham.JMqtt)
    assert client.capabilities.mqtt_311 or client.capabilities.mqtt_5
