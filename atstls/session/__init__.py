"""Who gets the connection, and what carries its bytes."""
