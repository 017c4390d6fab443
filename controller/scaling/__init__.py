"""Scheduled scaling: workloads go down when nobody needs them, and come back as they were."""
