"""What can be scaled: one small file for each kind, and the registry of them."""
