"""A compute cluster whose nodes schedule tasks among themselves: traces, topology, event-driven world, rules.

A node's stock is its free CPU and memory, the tasks that wait at it are a consumer with a demand, and its neighbours
are those within its communication radius.
"""
