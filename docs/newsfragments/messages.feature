On Twisted's reactors a connection that alone has news, again and again, is watched by the reactor itself: a message there and back is a call of the system less.
