"""Blocks and reports: what one person says about another, and what follows at once."""
