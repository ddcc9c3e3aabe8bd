"""The caller's models and data: checked, copied, and put back as they were."""
