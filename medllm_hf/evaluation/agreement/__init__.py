"""How far judges agree with human labels and with each other."""
