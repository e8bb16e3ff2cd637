"""What was said: each turn with its times, and the context of the next one."""
