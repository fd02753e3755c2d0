"""An audio-visual feature store for continual learning."""
