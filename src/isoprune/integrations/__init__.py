"""Callbacks that prune inside the training loops of other libraries, one library a file, none loaded here."""
