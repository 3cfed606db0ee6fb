``flags = …, tr-in`` takes connections that were made to others and that a router sends here (Linux), and
``tunnel_route = {original_destination}``, like the other routes, sends them to where they were meant to go.
