"""The paho backends of Juham."""

from juham_paho.jpaho import JPaho

__all__ = ["JPaho"]
