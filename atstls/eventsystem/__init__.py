"""What a state machine talks with: continuations, VIOs and buffers."""
