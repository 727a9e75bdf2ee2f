"""The order in which answers list things, and the words for their locations.

Order: rows from top to bottom, within a row from left to right. A row is whatever begins (by its box's upper edge) at most
`ROW` below the row's highest. Scenes in which order or location would be a close call are not made: an answer that
the image does not determine can be neither learnt nor scored.
"""

ROW = 0.1
MARGIN = 0.012
VERTICAL, HORIZONTAL = ("top", "middle", "bottom"), ("left", "center", "right")


def _rows(boxes):
    """Indices of boxes, by row; each row from left to right."""
    rows = []
    for index in sorted(range(len(boxes)), key=lambda i: boxes[i][1]):
        if rows and boxes[index][1] - boxes[rows[-1][0]][1] < ROW:
            rows[-1].append(index)
        else:
            rows.append([index])
    return [sorted(row, key=lambda i: boxes[i][0]) for row in rows]


def reading_order(things):
    """Things in the order in which answers list them."""
    return [things[index] for row in _rows([thing.box for thing in things]) for index in row]


def clear_order(boxes):
    """Whether no comparison that decides the order is close."""
    rows = _rows(boxes)
    tops = sorted(box[1] for box in boxes)
    firsts = [min(boxes[index][1] for index in row) for row in rows]
    if any(abs(top - first - ROW) < MARGIN for first in firsts for top in tops):
        return False
    return all(boxes[b][0] - boxes[a][0] >= MARGIN for row in rows for a, b in zip(row, row[1:]))


def _middle(box):
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def clear_place(box):
    """Whether the box's middle is in one ninth of the image beyond doubt."""
    return all(abs(value - edge) >= MARGIN for value in _middle(box) for edge in (1 / 3, 2 / 3))


def place(box):
    """Where a box is: "on the top left", "in the center"."""
    x, y = _middle(box)
    row, column = VERTICAL[min(2, int(y * 3))], HORIZONTAL[min(2, int(x * 3))]
    return "in the center" if (row, column) == ("middle", "center") else f"on the {row} {column}"
