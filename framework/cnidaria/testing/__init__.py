"""What helps to test a network mode: imported by nothing that runs on a node."""
