"""`import torch` in a process that a program under `funtorch run` has spawned means funtorch too.

Spawned interpreters get the parent's `sys.path`, but not its import hooks. This module stands first
on that path; it installs the hooks and puts funtorch in its own place.
"""

import sys

from funtorch.compat import torch_alias

import funtorch

sys.modules.pop(__name__)
torch_alias.install()
sys.modules[__name__] = funtorch
