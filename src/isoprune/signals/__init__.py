"""What methods read of a network on data."""
