"""The gmqtt backend of Juham, found by its entry-point name "gmqtt"."""

from juham_gmqtt.backend import JGmqtt as JGmqtt
