"""The asyncio face of every backend: ``async with juham.aio.connect(url) as mqtt``."""

from __future__ import annotations

from juham_core.aio.client import AsyncMqtt
from juham_core.aio.connecting import connect
from juham_core.aio.message import AsyncMessage
from juham_core.aio.streams import Stream

__all__ = ["AsyncMessage", "AsyncMqtt", "Stream", "connect"]
