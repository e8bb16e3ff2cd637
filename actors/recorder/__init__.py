"""The flight recorder, and recordings on purpose."""
