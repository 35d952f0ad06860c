"""Simulated drones that speak the protocols of real ones: what flight software meets before it meets hardware."""
