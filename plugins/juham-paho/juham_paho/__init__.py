"""The paho backends of Juham."""
