A user of connections can say which are busy and which only keep the line open (``add_to_active_queue``,
``add_to_keep_alive_queue``): over a limit the longest idle ones are ended first, and further requests are refused.
