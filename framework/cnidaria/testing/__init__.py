"""For tests of network modes: a small CNI runtime, namespaces, the conformance kit."""
