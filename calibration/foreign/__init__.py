"""What the registry finds and whom it accuses wrongly: docs/foreign-secrets.md."""
