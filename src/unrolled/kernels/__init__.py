"""Compiled twins of the hot loops. They know arrays only; each is checked against the readable form it stands for."""
