"""Learning to schedule: duration-aware LGTC agents, DQN, QMIX, Q-learning, and the comparison of all with the rules."""
