"""The shared contracts over each backend of this repository."""
