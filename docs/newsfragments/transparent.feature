``flags = …, tr-in`` takes connections that were made to others and that a router sends here (Linux),
``tunnel_route = {original_destination}``, like the other routes, sends them to where they were meant to go, and with
``tr-out`` the next host sees the client's address.
