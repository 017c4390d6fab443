"""The node daemon: sweep, attribute, meter, journal, serve."""
