"""What a session leaves on disk goes, whatever it built."""

import os
from pathlib import Path

from tir_gym.executors.sweep import remove_tree


def test_a_tree_deeper_than_any_stack_or_path_goes(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    fd = os.open(tree, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    remove_tree(str(tree))
    assert not tree.exists()


def test_closed_directories_and_links_go_and_what_links_lead_to_stays(tmp_path: Path) -> None:
    kept, tree = tmp_path / "kept", tmp_path / "tree"
    (kept / "below").mkdir(parents=True)
    (tree / "a" / "closed" / "b").mkdir(parents=True)
    for place in (tree, tree / "a", tree / "a" / "closed"):
        (place / "link").symlink_to(kept)
        (place / "file").write_text("x")
    (tree / "a" / "closed").chmod(0)
    (tree / "a").chmod(0o500)
    remove_tree(str(tree))
    assert not tree.exists()
    assert (kept / "below").is_dir()
    assert kept.stat().st_mode & 0o777 == 0o755


def test_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    remove_tree(str(tmp_path / "nothing"))
    (tmp_path / "file").write_text("x")
    remove_tree(str(tmp_path / "file"))
    assert (tmp_path / "file").exists()
