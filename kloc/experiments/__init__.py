"""Experiments on annotated sets: would a selection strategy have saved labels?"""
