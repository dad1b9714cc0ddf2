"""What every method stands on: the engine, what a method may say, losses, words."""
