"""A folder for `sys.path`: fresh interpreters that a program starts find `torch` here."""
