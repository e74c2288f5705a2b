from corepress.cli.outputs import size_on_disk


def test_the_size_of_a_folder_is_that_of_its_files(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "file").write_text("12345")
    (tmp_path / "other").write_text("678")
    assert size_on_disk(tmp_path) == 8
    assert size_on_disk(tmp_path / "other") == 3
