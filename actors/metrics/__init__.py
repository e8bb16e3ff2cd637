"""Figures for Prometheus, drawn from the events."""
