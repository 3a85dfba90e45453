"""What builds do on the host: contexts, trees to copy from, roots to copy into, downloads."""
