"""torch.nn.functional: bound from the op table by `funtorch._surface` (form "functional")."""
