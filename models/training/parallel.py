"""Several processes that train one model, each on images of its own: `torchrun --nproc-per-node 2 train.py ...`.

Made for CPUs: on one that other programs use too, one thread in each of two processes does more than two threads in one,
because they wait for each other once a step, not once an operation.
"""

import os

import torch
from torch import distributed


def join():
    """This process's rank, and the number of processes."""
    if "RANK" in os.environ:
        distributed.init_process_group("gloo")
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def average(tensors):
    """Replaces each tensor by its mean over the processes."""
    if not distributed.is_initialized():
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors])):
        tensor.copy_(mean.view_as(tensor))


def agree(value):
    """Broadcasts the first process's value, a number, to all."""
    if not distributed.is_initialized():
        return value
    shared = torch.tensor([value], dtype=torch.float64)
    distributed.broadcast(shared, 0)
    return shared.item()
