"""Which of the two ways in the tests of this folder take, see `signaling.doorway`; set by a fixture of `conftest.py`."""

through_the_door = True
