"""The rules of operations: the effect of each on the channels of its arguments."""
