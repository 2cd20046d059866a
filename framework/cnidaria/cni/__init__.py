"""The CNI protocol: environment, configuration, result, errors, versions. Nothing else knows it.

Pure functions of bytes and text, by the specification (SPEC.md of containernetworking/cni, 1.1.0)
and, where that leaves room, by what the Go libraries of the same project do.
"""
