"""The commands of python -m train: arguments in, one call, what it did printed."""
