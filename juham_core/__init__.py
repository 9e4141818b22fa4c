"""MQTT from Python through any client library, chosen by name at run time."""
