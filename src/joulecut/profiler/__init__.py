"""What a run really cost: sensors of energy, and windows that are read out of what they counted."""
