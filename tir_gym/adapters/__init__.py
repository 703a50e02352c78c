"""Views for other libraries, one file each."""
