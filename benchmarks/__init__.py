"""cyray beside other engines, on the same machine, in the same run: `make bench`."""
