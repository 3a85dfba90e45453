"""Links, addresses, routes and packet rules."""
