"""Values that are kept for later passes come back as they were, from memory or from a folder."""

import gc

import pytest
import torch

from corepress.calibration import spool as module
from corepress.calibration.spool import Spool


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path))
    return tmp_path


VALUES = [(torch.arange(4.0), {"mask": torch.ones(3), "flag": True}), (torch.zeros(2), {}), "text"]


@pytest.mark.parametrize("memory", [None, 0, 20, 1000])
def test_values_come_back_as_they_were(memory):
    with Spool(memory) as spool:
        for value in VALUES:
            spool.append(value)
        assert len(spool) == 3
        for _ in range(2):
            back = list(spool)
            assert back[0][0].tolist() == [0, 1, 2, 3]
            assert back[0][1]["mask"].tolist() == [1, 1, 1]
            assert back[0][1]["flag"] is True
            assert back[1:] == [back[1], "text"]


def test_no_more_is_in_memory_than_allowed(folder):
    spool = Spool(20)
    spool.append(torch.zeros(4))
    assert (spool.nbytes, list(folder.iterdir())) == (16, [])
    spool.append(torch.zeros(4))
    assert spool.nbytes == 16
    assert len(list(folder.rglob("*.pt"))) == 1


def test_a_value_that_is_replaced_takes_the_memory_of_the_old_one():
    spool = Spool(16)
    spool.append(torch.zeros(4))
    spool[0] = torch.ones(4)
    assert spool.nbytes == 16
    assert spool[0].tolist() == [1, 1, 1, 1]


def test_a_part_of_a_large_tensor_is_stored_alone(folder):
    spool = Spool(0)
    spool.append(torch.zeros(1_000_000)[:10])
    (file,) = folder.rglob("*.pt")
    assert file.stat().st_size < 10_000


def test_the_folder_goes_with_the_spool(folder):
    spool = Spool(0)
    spool.append(torch.zeros(4))
    del spool
    gc.collect()
    assert list(folder.iterdir()) == []
