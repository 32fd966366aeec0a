"""End all ranks of a job for what the main one has found."""

from mmengine.dist import broadcast_object_list, get_rank, get_world_size


def refuse_on_all_ranks(problem: str | None, error: type[Exception]) -> None:
    """Raise on every rank if the main one names a problem.

    The others would wait for the main rank, which has ended, until they run into a time-out. Only
    the main one tells the problem: said by each of eight ranks it is hard to find.

    Args:
        problem: In words, None if there is none; only that of the main rank counts.
        error: Raised with it.
    """
    said = [problem]
    broadcast_object_list(said)
    if said[0] is None:
        return
    if get_rank() == 0:
        raise error(said[0])
    raise error(f'rank {get_rank()} of {get_world_size()} ends with rank 0, which says why')
