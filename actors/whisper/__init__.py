"""Speech to text with faster-whisper: one process per set of cores."""
