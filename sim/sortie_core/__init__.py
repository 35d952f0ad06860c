"""sortie_core."""
