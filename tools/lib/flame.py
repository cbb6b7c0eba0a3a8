# SPDX-License-Identifier: GPL-2.0-or-later
"""A flame graph (Gregg, 2011) of folded stacks: a box for each function, as wide as its share of the samples, on the box of
what called it. Plain SVG: a browser shows a box's numbers when the pointer rests on it."""
from xml.sax.saxutils import escape

WIDTH, ROW, MARGIN, TOP = 1200, 17, 10, 48
LEAST = 0.3         # pixels; narrower boxes are left out
GLYPH = 6.6         # pixels a letter of the font needs
COLOURS = {'merlon': '#5b8fd6', 'bpf': '#9ec3e6', 'kernel': '#e8a35c', 'user': '#c9c9c9', 'root': '#e6e6e6'}


class Box:
    def __init__(self):
        self.n, self.above = 0, {}


def tree(stacks):
    root = Box()
    for stack, n in stacks.items():
        at = root
        at.n += n
        for frame in stack:
            at = at.above.setdefault(frame, Box())
            at.n += n
    return root


def depth(box):
    return 1 + max((depth(b) for b in box.above.values()), default=0)


def draw(box, name, x, level, scale, total, kind_of, bottom, out):
    width = box.n * scale
    if width < LEAST:
        return
    y = bottom - (level + 1) * ROW
    letters = int((width - 4) / GLYPH)
    shown = name if len(name) <= letters else name[:letters - 2] + '..' if letters > 4 else ''
    out.append(f'<g><title>{escape(name)}: {box.n} samples, {100 * box.n / total:.1f} %</title>'
               f'<rect x="{x:.1f}" y="{y}" width="{max(width - 0.4, LEAST):.1f}" height="{ROW - 1}" fill="{COLOURS[kind_of(name)]}"/>'
               + (f'<text x="{x + 3:.1f}" y="{y + 12}">{escape(shown)}</text>' if shown else '') + '</g>')
    for above, child in sorted(box.above.items()):
        draw(child, above, x, level + 1, scale, total, kind_of, bottom, out)
        x += child.n * scale


def svg(stacks, title, subtitle, kind_of):
    """`stacks`: {(outermost, ..., innermost): samples}; kind_of(name): a key of COLOURS."""
    root = tree(stacks)
    height = TOP + (depth(root) + 1) * ROW + MARGIN
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
           'font-family="DejaVu Sans Mono, monospace" font-size="11">',
           f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
           f'<text x="{MARGIN}" y="20" font-size="15">{escape(title)}</text>',
           f'<text x="{MARGIN}" y="38">{escape(subtitle)}</text>']
    if root.n:
        draw(root, 'all', MARGIN, 0, (WIDTH - 2 * MARGIN) / root.n, root.n,
             lambda name: 'root' if name == 'all' else kind_of(name), height - MARGIN, out)
    return '\n'.join(out + ['</svg>', ''])
