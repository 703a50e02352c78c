"""The `tir-gym` command."""
