"""The books: accounts, apportioning, hours, prices."""
