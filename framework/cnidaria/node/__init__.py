"""The node agent, and the same code one-shot: CNI calls in, answers out."""
