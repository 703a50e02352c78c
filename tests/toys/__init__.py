"""Environments that prove what the core carries: images, a scripted user with a tool, two policies, retrieval."""

from tir_gym.envs import register

register("toy/Shapes-v0", "tests.toys.shapes.env:Shapes")
register("toy/Helpdesk-v0", "tests.toys.helpdesk.env:Helpdesk")
register("toy/Handover-v0", "tests.toys.handover.env:Handover")
register("toy/Ledger-v0", "tests.toys.ledger.env:Ledger")
register("toy/Archive-v0", "tests.toys.archive.env:Archive")

TOYS = ("toy/Shapes-v0", "toy/Helpdesk-v0", "toy/Handover-v0", "toy/Ledger-v0", "toy/Archive-v0")
