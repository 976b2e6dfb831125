"""A policy under which a call waits for its people, however slow the machine makes them.

The times of the defaults are those of people at devices of their own: a question stands for 20 s. Where two browsers and
all other tests share two cores, a screenshot that is looked over may take as long, and the question would be gone. For
tests of what people do and see; what happens when such a time is over has tests of its own.
"""

UNHURRIED = """
[intents.dating]
call_seconds = 900
proposed_s = 120
connecting_s = 120
reconnecting_s = 120
decide_after_s = 1800
video_request_s = 120
extend_request_s = 120
negotiation_s = 60
revoke_window_s = 60
"""
