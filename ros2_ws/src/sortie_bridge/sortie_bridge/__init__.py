"""A compute cluster behind the graph: its queues are consumers, its nodes are agents; knows no policy."""
