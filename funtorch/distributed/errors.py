"""What goes wrong between processes, under PyTorch's names."""


class DistError(RuntimeError):
    """Base of all errors of this package."""


class DistBackendError(DistError):
    """A collective failed: a process ended, did not come in time, or sent something else."""


class DistNetworkError(DistError):
    """No connection could be made."""


class DistStoreError(DistError):
    """A store did not answer, or a key did not come in time."""


class QueueEmptyError(DistStoreError):
    """There was nothing in the queue of a store."""
