"""A genotype as a directed graph: what feeds what."""

from __future__ import annotations

from collections.abc import Mapping

import networkx as nx

from common.errors import UserError, did_you_mean
from genotypes.genotype import SIDES, Genotype

INPUTS = {"encoder": "words", "decoder": "regions"}
HEAD = "head"
READS_TEXT = "guided attention"


def graph(genotype: Genotype, kinds: Mapping[str, str]) -> nx.DiGraph:
    """The graph of a genotype's network.

    Args:
        genotype: with E encoder and D decoder blocks, of which G read the encoder's output.
        kinds: what each operation is, such as ``{"self_att_64": "self attention"}``.

    Returns:
        E + D + 3 nodes, ``words``, ``regions``, ``encoder 1`` ..., ``decoder 1`` ..., ``head``, and E + D + G + 2
        edges. A node has the attributes label, kind, side, number (from 1; None for inputs and head) and probability
        (None where unknown). Kinds of what is no block are ``input`` and ``head``.

    Raises:
        UserError: the genotype holds an operation that has no kind.
    """
    made = nx.DiGraph(task=genotype.task)
    last = {}
    for side in SIDES:
        before = INPUTS[side]
        made.add_node(before, label=before, kind="input", side=side, number=None, probability=None)
        for index, name in enumerate(getattr(genotype, side)):
            if name not in kinds:
                raise UserError(f"operation {name!r} is unknown, it cannot be drawn{did_you_mean(name, kinds)}")
            node = f"{side} {index + 1}"
            facts = {"number": index + 1, "probability": genotype.probability(side, index)}
            made.add_node(node, label=name, kind=kinds[name], side=side, **facts)
            made.add_edge(before, node)
            before = node
            if side == "decoder" and kinds[name] == READS_TEXT:
                made.add_edge(last["encoder"], node)
        last[side] = before
    made.add_node(HEAD, label=HEAD, kind="head", side=None, number=None, probability=None)
    made.add_edges_from((node, HEAD) for node in last.values())
    return made
