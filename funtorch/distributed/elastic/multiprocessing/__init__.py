"""torch.distributed.elastic.multiprocessing: `errors`."""
