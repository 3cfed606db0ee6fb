"""Connections whose bytes are not encrypted, and what drives them."""
