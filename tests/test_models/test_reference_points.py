import torch

from mmdetr.models.layers import SinePositionalEncoding, inverse_sigmoid, sine_embedding


def test_inverse_sigmoid_is_torchs_logit_and_bounded() -> None:
    inside = torch.tensor([0.01, 0.3, 0.98])
    torch.testing.assert_close(inverse_sigmoid(inside, 1e-3), inside.logit())
    outside = torch.tensor([-0.5, 0.0, 1.0, 2.0])
    bound = torch.tensor(1e-3).log()
    torch.testing.assert_close(
        inverse_sigmoid(outside, 1e-3), torch.stack((bound, bound, -bound, -bound))
    )


def test_embedding_of_a_point_is_the_encoding_of_its_pixel() -> None:
    encoding = SinePositionalEncoding(num_feats=8)(torch.zeros(1, 16, 5, 4))
    # Pixel in row 3, column 2, counted from 1.
    point = torch.tensor([2 / (4 + 1e-6), 3 / (5 + 1e-6)])
    torch.testing.assert_close(sine_embedding(point, 8), encoding[0, :, 2, 1])


def test_offset_encodes_centres_of_the_unpadded_pixels() -> None:
    mask = torch.zeros(1, 5, 6, dtype=torch.bool)
    mask[:, :, 4:] = True
    encoding = SinePositionalEncoding(num_feats=8, offset=-0.5)(torch.zeros(1, 16, 5, 6), mask)
    centre = torch.tensor([1.5 / (4 + 1e-6), 2.5 / (5 + 1e-6)])
    torch.testing.assert_close(sine_embedding(centre, 8), encoding[0, :, 2, 1])


def test_order_of_a_box_is_y_x_w_h() -> None:
    box = torch.tensor([0.1, 0.2, 0.3, 0.4])
    parts = [sine_embedding(value.expand(2), 6)[:6] for value in box]
    expected = torch.cat([parts[i] for i in (1, 0, 2, 3)])
    torch.testing.assert_close(sine_embedding(box, 6), expected)
