"""Chaos on the deployed stack: everything that can fail fails, and in the end nothing may be missing."""
