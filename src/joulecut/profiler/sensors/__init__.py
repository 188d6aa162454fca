"""Sensors of energy, one kind a file, all behind the protocol ``Sensor``."""
