"""Measurements of the networks: commands that print and write CSV, never tests."""
