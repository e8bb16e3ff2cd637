"""Where the voice is heard: a device, a file, or nothing; and how much of it was."""
