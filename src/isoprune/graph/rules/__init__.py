"""The rules of operations: what each does to the channels of what it is given."""
