"""The question templates; importing this package lists them in `asking.TEMPLATES`."""

from tir_gym.envs.sql.templates import filters, groups, joins, nested, times, windows

__all__ = ["filters", "groups", "joins", "nested", "times", "windows"]
