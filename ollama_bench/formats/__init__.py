"""Files that other tools write and read: a module for each form, and the programs over them."""
