"""Tests of scheduled scaling. A package, so that what its fixtures made for it ends with its last test."""
