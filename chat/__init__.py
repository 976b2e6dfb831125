"""Staying in touch: connections, what is said in them, how far it was read.

Knows people by their ids and nothing of sockets, messages on the wire or calls: whoever uses it tells others of what
was kept.
"""
