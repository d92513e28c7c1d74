"""Trained models over HTTP: an API for programs, a page for people.

request -> guards -> straight -> routes -> engine (a thread a model, batches) -> served (what a task can be asked) -> answer
"""
