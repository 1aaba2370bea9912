"""The demo: a small convolutional network that learns real handwritten digits (`pellucid demo`).

`digits` is the program, written as any user of pellucid would write it; `report` and `canvas` draw what came of it;
`progress` shows the way there. The data lies in `data/`, with its source and licence.
"""
