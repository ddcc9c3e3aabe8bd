"""A network written down: exported operations, coupled axes, and which of their units stay."""
