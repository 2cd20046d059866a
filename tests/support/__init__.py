"""Shared harness of the tests: private nodes, images, leftovers."""
