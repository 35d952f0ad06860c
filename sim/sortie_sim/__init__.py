"""sortie_sim."""
