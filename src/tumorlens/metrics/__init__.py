"""What a prediction is worth: metrics with intervals, calibration, decisions, localisation."""
