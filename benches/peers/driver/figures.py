"""What was measured, condensed: medians, ratios, shares."""

from statistics import median, quantiles


class Figures:
    """The results of one run."""

    def __init__(self, results):
        self.results = results

    def names(self):
        """The peers measured in turns, ours first."""
        return list(self.results["turns"])

    def seconds(self, name, item):
        """All rounds' seconds; an empty list where the item was not measured."""
        return [found["seconds"] for found in self.results["turns"].get(name, {}).get(item, [])]

    def median(self, name, item):
        """The median seconds, or None."""
        seconds = self.seconds(name, item)
        return median(seconds) if seconds else None

    def ratio(self, name, item, other, other_item=None):
        """The median over the rounds of the quotient of two figures taken in the same round, or None."""
        pairs = list(zip(self.seconds(name, item), self.seconds(other, other_item or item)))
        return median(one / two for one, two in pairs) if pairs else None

    def spread(self):
        """Of each figure, half the distance of its quartiles relative to its median: the median of that, and the
        largest."""
        spreads = []
        for name in self.names():
            for item in self.results["turns"][name]:
                seconds = self.seconds(name, item)
                if len(seconds) > 1:
                    first, middle, third = quantiles(seconds, n=4, method="inclusive")
                    spreads.append((third - first) / 2 / middle)
        return (median(spreads), max(spreads)) if spreads else (0.0, 0.0)

    def alone(self, name, figure):
        """The median of what a fresh process showed, or None."""
        values = self.results["alone"].get(name, {}).get(figure, [])
        return median(values) if values else None

    def outside(self, name):
        """The share of an answer's time in which ONNX Runtime did not run; None where the engine does not say."""
        shares = [
            1 - found["timings"]["runtime"] / found["seconds"]
            for found in self.results["turns"].get(name, {}).get("answer", [])
            if "runtime" in found.get("timings", {})
        ]
        return median(shares) if shares else None

    def agreement(self, name, item, reference):
        """How many tokens a search shares with the reference's until the first that differs, and of how many."""
        ours, theirs = (self.results["turns"].get(peer, {}).get(item, []) for peer in (name, reference))
        if not ours or not theirs:
            return None
        ours, theirs = ours[-1]["tokens"], theirs[-1]["tokens"]
        same = next((index for index, pair in enumerate(zip(ours, theirs)) if pair[0] != pair[1]), len(theirs))
        return same, len(theirs)
