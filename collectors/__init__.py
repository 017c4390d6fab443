"""Every source, one file each: reads and converts units, decides nothing."""
