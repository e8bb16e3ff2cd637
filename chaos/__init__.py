"""`make chaos` and `make soak`: whole assistants under faults drawn from a seed, and over ten thousand turns."""
