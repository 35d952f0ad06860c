"""The expert and the non-learned references: who supplies whom, decided centrally, over the radio, or each alone.

Centralised: the quadratic assignment (`problem`) solved again at events (`expert_policy`), routes in time (`routes`,
`route_problem`) planned at every decision (`time_aware_expert`), both behind the one interface of `assignment` and kept
by the `bank`; `auction` and `local_search` for whole batches, the teachers of training. Over the radio: `cbba`, with
kept bids or without. Each alone: `greedy`. The deployed policy sees none of them. Every reference chooses consumers,
[B, N] int with M for "wait"; how to fly there is left to the motion controller.
"""
