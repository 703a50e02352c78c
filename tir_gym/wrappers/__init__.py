"""What a user puts around an environment."""

from tir_gym.wrappers.fork import ForkRefused, fork
from tir_gym.wrappers.mask_invalid import MaskInvalid

__all__ = ["ForkRefused", "MaskInvalid", "fork"]
