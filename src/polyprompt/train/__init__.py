"""Training: schedules, the order of the data, checkpoints, and the one loop that CAMPE and the prompt methods share."""
