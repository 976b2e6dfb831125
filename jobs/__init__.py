"""What runs after: taking what happened to where it is kept."""
