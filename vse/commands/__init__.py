"""What `vse SUBCOMMAND` calls."""
