"""The paho backends of Juham."""

from juham_paho.jpaho import JPaho
from juham_paho.jpaho2 import JPaho2

__all__ = ["JPaho", "JPaho2"]
