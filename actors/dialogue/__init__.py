"""The turn manager: decides what is to become of each thing heard."""
