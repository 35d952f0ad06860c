"""The expert and the non-learned references: who supplies whom, decided centrally or by simple rules.

The centralised assignment (`problem`, `assignment`, `bank`, `expert_policy`) guides training and is a reference of the
evaluation; the deployed policy never sees it. The greedy rules (`greedy`) are what a user would otherwise pick. Every
reference chooses consumers, [B, N] int with M for "wait"; how to fly there is left to the motion controller.
"""
