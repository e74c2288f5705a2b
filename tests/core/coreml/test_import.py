import subprocess
import sys

import corepress.coreml


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def test_planning_does_not_import_coremltools():
    code = "import sys; from corepress.coreml import check, minimum_target; print('coremltools' in sys.modules)"
    assert run(code).stdout == "False\n"


def test_the_import_of_coremltools_is_silent():
    found = run("from corepress.coreml import convert")
    assert (
        found.stdout,
        [line for line in found.stderr.splitlines() if "orch version" in line or "Failed to load" in line],
    ) == ("", [])


def test_every_public_name_exists():
    for name in corepress.coreml.__all__:
        found = getattr(corepress.coreml, name)
        assert getattr(found, "__name__", name) == name


def test_the_verbs_stay_functions_after_their_modules_are_imported():
    import corepress.coreml.conversion
    import corepress.coreml.inspection
    import corepress.coreml.storage.lowering
    import corepress.coreml.verification

    assert all(callable(getattr(corepress.coreml, verb)) for verb in ("convert", "inspect", "lower", "verify"))


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(corepress.coreml, "nothing")
