"""People: who they are, how they sign in, what others may learn of them."""
