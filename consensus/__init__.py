"""Agreement: the PBFT replica, blocks and certificates, and the ledger they decide on."""
