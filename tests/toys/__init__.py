"""Environments that prove what the core carries: images, a scripted user, two policies, retrieval, a terminal."""

from tir_gym.envs import register

register("toy/Shapes-v0", "tests.toys.shapes.env:Shapes")
register("toy/Helpdesk-v0", "tests.toys.helpdesk.env:Helpdesk")
register("toy/Handover-v0", "tests.toys.handover.env:Handover")
register("toy/Ledger-v0", "tests.toys.ledger.env:Ledger")
register("toy/Archive-v0", "tests.toys.archive.env:Archive")
register("toy/Papers-v0", "tests.toys.papers.env:Papers")

TOYS = ("toy/Shapes-v0", "toy/Helpdesk-v0", "toy/Handover-v0", "toy/Ledger-v0", "toy/Archive-v0", "toy/Papers-v0")
