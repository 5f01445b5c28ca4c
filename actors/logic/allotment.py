"""How a node's places are shared out among types of workers. Pure.

In proportion to the work that each type has, as funcX's soft mode does: each type with
work has a place as long as there are places, no type has more than it has work for.
"""

from collections.abc import Mapping

__all__ = ["share_out"]


def share_out(places: int, demand: Mapping[str, int]) -> dict[str, int]:
    """Share places out.

    Args:
        places: >= 0.
        demand: {type: tasks}, with the most urgent first: where there are fewer places
            than types, the last ones get none.

    Returns:
        {type: places}, of the same types; all places, if there is work for them.
    """
    shares = dict.fromkeys(demand, 0)
    for name, tasks in demand.items():
        if places and tasks > 0:
            shares[name] = 1
            places -= 1
    while places:
        # The one that lacks most of its part comes next; of equals the most urgent.
        lacking = [name for name in demand if shares[name] < demand[name]]
        if not lacking:
            break
        neediest = max(lacking, key=lambda name: demand[name] / shares[name])
        shares[neediest] += 1
        places -= 1
    return shares
