"""The table of ratios: what was measured, against what, and whether the goal is met."""

import statistics

HEAD = ("work", "against", "ratio", "goal", "met", "figures")


def per_round(ours, theirs):
    """How far the rounds are apart: least, median and greatest ratio of a round."""
    ratios = sorted(a / b for a, b in zip(ours, theirs))
    return f"rounds {ratios[0]:.2f}, {statistics.median(ratios):.2f}, {ratios[-1]:.2f}"


class Table:
    def __init__(self):
        self.rows, self.missed = [], False

    def add(self, work, against, ratio, goal, figures, at_least=False):
        met = ratio >= goal if at_least else ratio <= goal
        self.missed |= not met
        sign = "≥" if at_least else "≤"
        self.rows.append((work, against, f"{ratio:.2f}", f"{sign} {goal}", "yes" if met else "NO", figures))
        print(f"  {work}: {ratio:.2f}, goal {sign} {goal} ({figures})", flush=True)

    def rate(self, work, against, ours, theirs, goal, unit, scale=1.0, digits=2):
        """A row of rates, the more the better: one figure a round and side."""
        a, b = statistics.median(ours), statistics.median(theirs)
        self.add(work, against, a / b, goal, f"{a / scale:.{digits}f} against {b / scale:.{digits}f} {unit}; "
                 + per_round(ours, theirs), at_least=True)

    def cost(self, work, against, ours, theirs, goal, unit, scale=1.0, digits=0, more=""):
        """A row of times, the less the better."""
        a, b = statistics.median(ours), statistics.median(theirs)
        self.add(work, against, a / b, goal, f"{a / scale:.{digits}f} against {b / scale:.{digits}f} {unit}; "
                 + per_round(ours, theirs) + more)

    def print(self):
        widths = [max(len(row[i]) for row in self.rows + [HEAD]) for i in range(len(HEAD))]
        for row in [HEAD, tuple("-" * width for width in widths)] + self.rows:
            print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |")
