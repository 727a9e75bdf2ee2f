"""Medians, ratios and shares of the results."""

from statistics import median, quantiles


class Figures:
    """The results of one run."""

    def __init__(self, results):
        self.results = results

    def names(self):
        """The peers measured in turns, ours first."""
        return list(self.results["turns"])

    def seconds(self, name, item):
        """The seconds of all rounds; an empty list if the item was not measured."""
        return [found["seconds"] for found in self.results["turns"].get(name, {}).get(item, [])]

    def median(self, name, item):
        """The median seconds, or None."""
        seconds = self.seconds(name, item)
        return median(seconds) if seconds else None

    def ratio(self, name, item, other, other_item=None):
        """The median over the rounds of the ratio of two figures taken in the same round, or None."""
        pairs = list(zip(self.seconds(name, item), self.seconds(other, other_item or item)))
        return median(one / two for one, two in pairs) if pairs else None

    def spread(self):
        """Half the interquartile range of each figure relative to its median: the median and the maximum over all figures."""
        spreads = []
        for name in self.names():
            for item in self.results["turns"][name]:
                seconds = self.seconds(name, item)
                if len(seconds) > 1:
                    first, middle, third = quantiles(seconds, n=4, method="inclusive")
                    spreads.append((third - first) / 2 / middle)
        return (median(spreads), max(spreads)) if spreads else (0.0, 0.0)

    def alone(self, name, figure):
        """The median of a figure of fresh processes, or None."""
        values = self.results["alone"].get(name, {}).get(figure, [])
        return median(values) if values else None

    def outside(self, name):
        """The share of an answer's time outside ONNX Runtime; None if the engine does not report it."""
        shares = [
            1 - found["timings"]["runtime"] / found["seconds"]
            for found in self.results["turns"].get(name, {}).get("answer", [])
            if "runtime" in found.get("timings", {})
        ]
        return median(shares) if shares else None

    def agreement(self, name, item, reference):
        """The number of tokens before the first that differs from the reference's, and the number of the reference's tokens."""
        ours, theirs = (self.results["turns"].get(peer, {}).get(item, []) for peer in (name, reference))
        if not ours or not theirs:
            return None
        ours, theirs = ours[-1]["tokens"], theirs[-1]["tokens"]
        same = next((index for index, pair in enumerate(zip(ours, theirs)) if pair[0] != pair[1]), len(theirs))
        return same, len(theirs)
