"""The methods of the field, one a file, one folder a kind."""
