"""From one file to frames, audio, fbank and quality signals, in one decode pass."""
