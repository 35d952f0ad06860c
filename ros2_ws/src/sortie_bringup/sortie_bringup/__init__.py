"""Which processes make a mission, and how they are started."""
