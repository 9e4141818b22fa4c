"""The gmqtt backends of Juham."""
