"""Every sink: metric catalogue and exposition, reports, notifications."""
