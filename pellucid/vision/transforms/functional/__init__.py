"""`transforms.functional`, and `transforms.v2.functional`: one function for Pillow images, tensors, and `tv_tensors`.

In: an image of any kind, and what is to be done. Out: the same kind. (`register_kernel` adds kinds of your own.)
"""
from .boxes import clamp_bounding_boxes, convert_bounding_box_format, sanitize_bounding_boxes
from .color import (adjust_brightness, adjust_contrast, adjust_gamma, adjust_hue, adjust_saturation, adjust_sharpness, autocontrast,
                    equalize,
                    grayscale_to_rgb, invert, permute_channels, posterize, rgb_to_grayscale, solarize, to_grayscale)
from .convert import (convert_image_dtype, get_dimensions, get_image_size, get_num_channels, get_num_frames, get_size, pil_to_tensor,
                      to_dtype,
                      to_image, to_pil_image, to_tensor)
from .dispatch import is_pure_tensor, register_kernel
from .filters import erase, gaussian_blur, gaussian_noise, jpeg, normalize, uniform_temporal_subsample
from .geometry import (InterpolationMode, affine, center_crop, crop, elastic, elastic_transform, five_crop, hflip, horizontal_flip, pad,
                       perspective, resize, resized_crop, rotate, ten_crop, vertical_flip, vflip)

get_image_num_channels = get_num_channels

__all__ = ["InterpolationMode", "adjust_brightness", "adjust_contrast", "adjust_gamma", "adjust_hue", "adjust_saturation",
           "adjust_sharpness",
           "affine", "autocontrast", "center_crop", "clamp_bounding_boxes", "convert_bounding_box_format", "convert_image_dtype", "crop",
           "elastic", "elastic_transform", "equalize", "erase", "five_crop", "gaussian_blur", "gaussian_noise", "get_dimensions",
           "get_image_num_channels", "get_image_size", "get_num_channels", "get_num_frames", "get_size", "grayscale_to_rgb", "hflip",
           "horizontal_flip", "invert", "is_pure_tensor", "jpeg", "normalize", "pad", "permute_channels", "perspective", "pil_to_tensor",
           "posterize", "register_kernel", "resize", "resized_crop", "rgb_to_grayscale", "rotate", "sanitize_bounding_boxes", "solarize",
           "ten_crop", "to_dtype", "to_grayscale", "to_image", "to_pil_image", "to_tensor", "uniform_temporal_subsample", "vertical_flip",
           "vflip"]
