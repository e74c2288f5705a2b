import enum

import pytest

from corepress.coreml import DeploymentTarget
from corepress.errors import ExportError


class ForeignTarget(enum.IntEnum):
    iOS18 = 9  # noqa: N815


@pytest.mark.parametrize(
    "spelling", ["iOS18", "ios18", " macOS15 ", "watchOS11", "tvOS18", ForeignTarget.iOS18, DeploymentTarget.iOS18]
)
def test_every_spelling_of_a_release_is_the_same_target(spelling):
    assert DeploymentTarget.parse(spelling) is DeploymentTarget.iOS18


def test_releases_are_numbered_by_year_from_26_on():
    assert DeploymentTarget.parse("macOS26") is DeploymentTarget.parse("iOS26") is DeploymentTarget.iOS26


def test_targets_are_ordered():
    assert DeploymentTarget.iOS16 < DeploymentTarget.iOS18 < DeploymentTarget.iOS26
    assert str(DeploymentTarget.iOS18) == "iOS18"


@pytest.mark.parametrize("spelling", ["iOS19", "macOS10", "android", "iOS", "iOS14"])
def test_an_unknown_target_is_refused_with_the_known_ones(spelling):
    with pytest.raises(ExportError) as caught:
        DeploymentTarget.parse(spelling)
    assert (
        str(caught.value) == f"minimum_deployment_target {spelling!r} is not one of iOS15, iOS16, iOS17, iOS18, iOS26"
    )


def test_something_else_is_refused():
    with pytest.raises(ExportError) as caught:
        DeploymentTarget.parse(18)
    assert str(caught.value) == "minimum_deployment_target '18' is not one of iOS15, iOS16, iOS17, iOS18, iOS26"
