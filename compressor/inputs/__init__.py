"""What the caller gives: checked, copied, and put back as it was."""
