"""Several processes that train one model, each on images of its own: `torchrun --nproc-per-node 2 train.py ...`.

Made for CPUs: on one that other programs use too, one thread in each of two processes does more than two threads in one,
because they wait for each other once a step, not once an operation.
"""

import os

import torch
from torch import distributed


def join():
    """This process's rank, and how many there are."""
    if "RANK" in os.environ:
        distributed.init_process_group("gloo")
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def average(tensors):
    """Makes each tensor its mean over the processes."""
    if not distributed.is_initialized():
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors])):
        tensor.copy_(mean.view_as(tensor))


def agree(value):
    """The first process's value, a number, for all; waits for it."""
    if not distributed.is_initialized():
        return value
    shared = torch.tensor([value], dtype=torch.float64)
    distributed.broadcast(shared, 0)
    return shared.item()
