"""The kernel's side: namespaces, netlink, and the objects that are declared to it."""
