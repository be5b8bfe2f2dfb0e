#!/usr/bin/python3
"""Draws the kernel's logos: a prompt inside a closed box. Run it after a change: python3 kernelspec/draw-logos.py

One description gives the SVG and the PNGs (needs Pillow, Debian: python3-pil). All lengths are 64ths of the width.
"""

from pathlib import Path

from PIL import Image, ImageDraw

HERE = Path(__file__).parent
BOX, SAND, PROMPT = "#17324d", "#f2c14e", "#ffffff"
FRAME = (3, 3, 61, 61, 12)  # left, top, right, bottom, corner radius: the wall of the box
INSIDE = (8, 8, 56, 56, 8)
STROKES = [[(19, 22), (29, 32), (19, 42)], [(34, 43), (46, 43)]]  # > and _
PEN = 5.5


def svg():
    def rect(shape, colour):
        left, top, right, bottom, radius = shape
        return f'  <rect x="{left}" y="{top}" width="{right - left}" height="{bottom - top}" rx="{radius}" fill="{colour}"/>\n'

    lines = "".join(
        f'  <polyline points="{" ".join(f"{x},{y}" for x, y in stroke)}" fill="none" stroke="{PROMPT}" '
        f'stroke-width="{PEN}" stroke-linecap="round" stroke-linejoin="round"/>\n'
        for stroke in STROKES
    )
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" width="64" height="64">\n  <title>Python (sandbox)</title>\n'
    return head + rect(FRAME, SAND) + rect(INSIDE, BOX) + lines + "</svg>\n"


def png(width, oversampling=8):
    unit = width * oversampling / 64
    image = Image.new("RGBA", (width * oversampling,) * 2)
    pen = ImageDraw.Draw(image)
    for shape, colour in ((FRAME, SAND), (INSIDE, BOX)):
        pen.rounded_rectangle([n * unit for n in shape[:4]], shape[4] * unit, fill=colour)
    for stroke in STROKES:
        pen.line([(x * unit, y * unit) for x, y in stroke], fill=PROMPT, width=round(PEN * unit))
        for x, y in stroke:  # round caps and joints
            reach = PEN / 2
            pen.ellipse([(x - reach) * unit, (y - reach) * unit, (x + reach) * unit, (y + reach) * unit], fill=PROMPT)
    return image.resize((width, width), Image.LANCZOS)


if __name__ == "__main__":
    (HERE / "logo-svg.svg").write_text(svg(), encoding="utf-8")
    for width in (32, 64):
        png(width).save(HERE / f"logo-{width}x{width}.png", optimize=True)
