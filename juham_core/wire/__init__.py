"""The MQTT codec, 3.1.1 and 5, without I/O: the embedded broker stands on it, and so may any backend."""
