"""What the tests of the paho backends share."""

from __future__ import annotations

import pytest
from scripted import ScriptedPeer


@pytest.fixture
def peer():
    """A broker that the test plays itself."""
    listening = ScriptedPeer()
    yield listening
    listening.close()
