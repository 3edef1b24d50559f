"""How fast the package is on this machine: `midas_depth bench`, and the parts it is made of."""
