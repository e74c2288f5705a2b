import json

from corepress import coreml


def test_a_package_is_shown_weight_by_weight(run, folder):
    run("compress", "recipe.yaml", "models:digits", "-o", "small.mlpackage")
    found = coreml.inspect("small.mlpackage")
    assert run("inspect", "small.mlpackage").stdout == f"{found}\n"
    printed = json.loads(run("inspect", "small.mlpackage", "--json").stdout)
    assert printed == json.loads(json.dumps(found.as_dict()))
    assert [weight["stored_as"] for weight in printed["weights"].values()] == ["75% sparse", "75% sparse"]


def test_what_is_no_package_fails_the_work(run, folder):
    result = run("inspect", str(folder))
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: {folder} is not an .mlpackage; give the folder that MLModel.save has written\n",
    )


def test_a_package_is_shown_against_another(run, folder):
    run("compress", "recipe.yaml", "models:digits", "-o", "small.mlpackage")
    found = run("inspect", "small.mlpackage", "--against", "small.mlpackage")
    assert found.stdout == f"{coreml.inspect('small.mlpackage', 'small.mlpackage')}\n"
    printed = json.loads(run("inspect", "small.mlpackage", "--against", "small.mlpackage", "--json").stdout)
    assert [weight["snr_db"] for weight in printed["weights"].values()] == [None, None]
