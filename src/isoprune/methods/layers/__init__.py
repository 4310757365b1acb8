"""A network's layers as methods read and change them: what they hold, read, make, and ought to make."""
