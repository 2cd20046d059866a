"""Plans: declared objects, journal, transaction, recovery, reconciliation."""
