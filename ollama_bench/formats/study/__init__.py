"""The CSV files of the original study's tool, written in Go: read them and write them."""
