SIGHUP reads the configuration again, with its certificates: with any mistake in it nothing changes, and no connection
is refused or cut off.
