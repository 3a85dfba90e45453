"""Images: loading, saving, tagging, deleting."""
