"""Grids, files and drawings: every pixel that matters, by hand."""
from __future__ import annotations

import io

import numpy as np
import pytest

import pellucid as torch

Image = pytest.importorskip("PIL.Image")
from pellucid.vision import utils  # noqa: E402


def test_grid_by_hand() -> None:
    images = torch.arange(1.0, 4.0).reshape(3, 1, 1, 1).expand(3, 3, 1, 2)
    grid = utils.make_grid(images, nrow=2, padding=1, pad_value=9.0)
    assert grid.shape == (3, 5, 7)
    assert grid[0].tolist() == [[9] * 7, [9, 1, 1, 9, 2, 2, 9], [9] * 7, [9, 3, 3, 9, 9, 9, 9], [9] * 7]
    assert torch.equal(grid, utils.make_grid(list(images), nrow=2, padding=1, pad_value=9.0))
    assert utils.make_grid(images[:1]).shape == utils.make_grid(images[0]).shape == (3, 1, 2)
    assert utils.make_grid(torch.zeros(4, 5)).shape == utils.make_grid(torch.zeros(1, 4, 5)).shape == (3, 4, 5)


def test_grid_brings_values_to_0_and_1() -> None:
    images = torch.tensor([[0.0, 10.0], [20.0, 40.0]]).reshape(2, 1, 1, 2)
    one = {"nrow": 1, "padding": 0, "normalize": True}
    assert utils.make_grid(images, **one)[0].tolist() == [[0, 0.25], [0.5, 1]]
    assert utils.make_grid(images, scale_each=True, **one)[0].tolist() == [[0, 1], [0, 1]]
    assert utils.make_grid(images, value_range=(0, 20), **one)[0].tolist() == [[0, 0.5], [1, 1]]
    assert images.max() == 40
    with pytest.raises(TypeError, match="value_range"):
        utils.make_grid(images, value_range=[0, 1], **one)
    for wrong in (3, [3]):
        with pytest.raises(TypeError, match="tensor or list of tensors expected"):
            utils.make_grid(wrong)


def test_save_image(tmp_path) -> None:
    image = torch.tensor([0.0, 0.5, 1.0, 2.0]).reshape(1, 2, 2).expand(3, 2, 2)
    utils.save_image(image, tmp_path / "a.png")
    saved = (tmp_path / "a.png").read_bytes()
    assert np.array(Image.open(io.BytesIO(saved)))[..., 0].tolist() == [[0, 128], [255, 255]]
    file = io.BytesIO()
    utils.save_image([image, image], file, format="png", padding=0)
    assert Image.open(file).size == (4, 2)
    with pytest.raises(ValueError, match="unknown file extension"):
        utils.save_image(image, tmp_path / "a.nothing")
    with pytest.raises(KeyError):                      # an error while writing leaves the old file, and nothing else
        utils.save_image(image, tmp_path / "a.png", format="NOTHING")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"] and (tmp_path / "a.png").read_bytes() == saved


BLACK = torch.zeros(3, 12, 16, dtype=torch.uint8)


def test_boxes_are_drawn() -> None:
    out = utils.draw_bounding_boxes(BLACK, torch.tensor([[2, 3, 9, 8]]), colors="red")
    want = np.zeros((12, 16), np.uint8)
    want[3:9, 2:10] = 255
    want[4:8, 3:9] = 0
    assert (out[0].numpy() == want).all() and not out[1:].any() and not BLACK.any()
    filled = utils.draw_bounding_boxes(BLACK, torch.tensor([[2, 3, 9, 8]]), colors=[(255, 0, 0)], fill=True)
    assert filled[0, 5, 5] == 100 and filled[0, 3, 2] == 255
    grey = utils.draw_bounding_boxes(torch.ones(1, 12, 16), torch.tensor([[2, 3, 9, 8]]), colors="black")
    assert grey.dtype is torch.float32 and grey.shape == (3, 12, 16) and grey[0, 3, 2] == 0 and grey[0, 0, 0] == 1
    side = torch.zeros(3, 20, 40, dtype=torch.uint8)
    turned = utils.draw_bounding_boxes(side, torch.tensor([[4, 4, 34, 4, 34, 15, 4, 15]]), colors="white")
    assert 0 < int((turned[0, 4, 5:34] == 0).sum()) and bool((turned[0, 15, 4:35] == 255).all())       # the first side is dashed


def test_labels_are_drawn() -> None:
    image, boxes = torch.zeros(3, 40, 60, dtype=torch.uint8), torch.tensor([[2, 2, 50, 30], [5, 5, 20, 20]])
    plain = utils.draw_bounding_boxes(image, boxes, colors=["red", "blue"])
    labelled = utils.draw_bounding_boxes(image, boxes, labels=["cat", None], colors=["red", "blue"], label_colors="white")
    assert bool((labelled[1] > 0).any()) and not bool((plain[1] > 0).any())
    on_colour = utils.draw_bounding_boxes(image, boxes, labels=["cat", "dog"], colors="red", fill_labels=True,
                                          label_background_colors="lime")
    assert int((on_colour[1] == 255).sum()) > 20
    with pytest.warns(UserWarning, match="font_size"):
        utils.draw_bounding_boxes(image, boxes, font_size=10)
    with pytest.raises(ValueError, match="mismatch"):
        utils.draw_bounding_boxes(image, boxes, labels=["cat"])


def test_masks_are_drawn() -> None:
    masks = torch.zeros(2, 12, 16, dtype=torch.bool)
    masks[0, :6], masks[1, 4:] = True, True
    out = utils.draw_segmentation_masks(torch.full((3, 12, 16), 100, dtype=torch.uint8), masks, alpha=0.5, colors=["red", "blue"])
    assert out[:, 0, 0].tolist() == [177, 50, 50] and out[:, 11, 0].tolist() == [50, 50, 177] and out[:, 5, 0].tolist() == [50, 50, 50]
    half = utils.draw_segmentation_masks(torch.ones(3, 12, 16), masks[0], alpha=1.0, colors=(255, 0, 0))
    assert half[:, 0, 0].tolist() == [1, 0, 0] and half[:, 11, 0].tolist() == [1, 1, 1]
    with pytest.warns(UserWarning, match="No mask was drawn"):
        assert utils.draw_segmentation_masks(BLACK, masks[:0]) is BLACK
    for wrong in (masks.float(), masks[:, :3], masks[None]):
        with pytest.raises(ValueError):
            utils.draw_segmentation_masks(BLACK, wrong)


def test_key_points_are_drawn() -> None:
    points = torch.tensor([[[3.0, 3.0], [12.0, 3.0], [3.0, 9.0]]])
    out = utils.draw_keypoints(BLACK, points, colors="red", radius=1, visibility=torch.tensor([[True, True, False]]))
    assert out[0, 3, 3] == out[0, 3, 12] == 255 and out[0, 9, 3] == 0
    seen = torch.tensor([[[1], [1], [0]]])
    linked = utils.draw_keypoints(BLACK, points, [(0, 1), (0, 2)], colors="red", radius=1, width=1, visibility=seen)
    assert linked[1, 3, 7] == 255 and linked[1, 6, 3] == 0
    for wrong in ({"keypoints": points[0]}, {"keypoints": points, "visibility": torch.ones(1, 2)}):
        with pytest.raises(ValueError):
            utils.draw_keypoints(BLACK, **wrong)


@pytest.mark.parametrize("image", [torch.zeros(2, 4, 4), torch.zeros(1, 3, 4, 4), torch.zeros(3, 4, 4, dtype=torch.int64)])
def test_what_is_no_image_is_refused(image) -> None:
    with pytest.raises(ValueError):
        utils.draw_bounding_boxes(image, torch.tensor([[0, 0, 1, 1]]))
    with pytest.raises(ValueError):
        utils.draw_keypoints(image, torch.zeros(1, 1, 2))
    with pytest.raises(TypeError):
        utils.draw_segmentation_masks(3, torch.ones(4, 4, dtype=torch.bool))


def test_colours_and_boxes_are_checked() -> None:
    boxes = torch.tensor([[0, 0, 1, 1], [1, 1, 2, 2]])
    for wrong in (["red"], (1, 2), 3):
        with pytest.raises(ValueError):
            utils.draw_bounding_boxes(BLACK, boxes, colors=wrong)
    with pytest.raises(ValueError, match="xmin"):
        utils.draw_bounding_boxes(BLACK, torch.tensor([[3, 0, 1, 1]]))
    with pytest.warns(UserWarning, match="No box"):
        assert utils.draw_bounding_boxes(BLACK, boxes[:0]) is BLACK


def test_flow() -> None:
    flow = torch.zeros(2, 3, 3)
    flow[0, 0, 0], flow[0, 2, 2], flow[1, 0, 2] = 1.0, -1.0, 0.5
    image = utils.flow_to_image(flow)
    assert image.dtype is torch.uint8 and image[:, 1, 1].tolist() == [255, 255, 255]
    assert image[:, 0, 0].tolist() == [255, 0, 0]                          # to the right: red
    assert image[2, 2, 2] == 255 and image[0, 2, 2] == 0                   # to the left: blue
    assert torch.equal(utils.flow_to_image(flow[None]), image[None])
    for wrong in (flow.double(), flow[:1], torch.zeros(1, 1, 2, 3, 3)):
        with pytest.raises(ValueError):
            utils.flow_to_image(wrong)
