"""Where sound comes from: a device, a file, or raw PCM on standard input."""
