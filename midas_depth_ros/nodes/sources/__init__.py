"""Simulated cameras: recordings played, scenes rendered."""
