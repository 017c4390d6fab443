"""Tests on a real cluster. A package, so that what its fixtures made for it ends with its last test."""
