"""Extraction: turn one media file into frames, waveform, fbank and quality signals."""
