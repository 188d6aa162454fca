"""What a network really cost: sensors, windows and attribution. This version models and does not measure."""
